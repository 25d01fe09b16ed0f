using System.Globalization;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Protocol.Discovery;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Testing.Logs;
using Dynamo.Vllm.UnitTests.Core;
using Dynamo.Vllm.UnitTests.Protocol.ForwardPasses;
using Dynamo.Vllm.Worker.ForwardPasses;
using Microsoft.Extensions.Logging;
using Prometheus;

namespace Dynamo.Vllm.UnitTests.Worker.ForwardPasses;

public sealed class PassTraceTests : IDisposable
{
    private const string Producer = "77";

    private readonly TemporaryFolder _folder = new();
    private readonly SignallingTime _time = new();
    private readonly LogCapture _log = new();
    private readonly CollectorRegistry _registry = Metrics.NewCustomRegistry();
    private readonly CancellationTokenSource _stop = new();

    private string TracePath => Path.Combine(_folder.Path, "traces", "pass.jsonl");

    [Fact]
    public async Task Of_each_rank_the_last_pass_of_an_interval_is_written_and_at_the_end_what_is_left()
    {
        var trace = Create(new PassTraceOptions { Path = TracePath });
        var running = trace.RunAsync(_stop.Token);
        await _time.ArmedAsync();
        trace.Observe(0, ForwardPassPayloadTests.Pass(1));
        trace.Observe(0, ForwardPassPayloadTests.Pass(2));
        trace.Observe(1, ForwardPassPayloadTests.Pass(3));
        await TickAsync(TimeSpan.FromSeconds(5), "written", 2);
        await TickAsync(TimeSpan.FromSeconds(5), "written", 2); // no pass, no line
        trace.Observe(1, ForwardPassPayloadTests.Pass(4));
        await StopAsync(running);
        var lines = Lines(0);
        Assert.Equal([2, 3, 4], lines.Select(Counter));
        Assert.Equal("1234", lines[0]["event"]!["fpm"]!["worker_id"]!.GetValue<string>());
        Assert.Equal([5000, 5000, 10_000], lines.Select(line => line["timestamp"]!.GetValue<long>()));
        Assert.Equal(
            """{"schema":"dynamo.fpm.trace.v1","source":{"namespace":"space","component":"back","producer_id":"77"},"capture_mode":"sampled","observed_at_unix_ms":946684800000}""",
            Without(lines[0]["event"]!.AsObject(), "fpm").ToJsonString()
        );
    }

    [Fact]
    public async Task Every_pass_is_written_where_that_is_asked_for_and_the_oldest_file_goes()
    {
        var trace = Create(
            new PassTraceOptions
            {
                Path = TracePath,
                IsFull = true,
                FileBytesMax = 700, // a line has some 650 bytes: one a file
                FilesMax = 2,
            }
        );
        var running = trace.RunAsync(_stop.Token);
        await _time.ArmedAsync();
        for (var i = 0; i < 5; i++)
        {
            trace.Observe(0, ForwardPassPayloadTests.Pass(i));
        }

        await StopAsync(running);
        Assert.Equal(["pass.77.000003.jsonl.gz", "pass.77.000004.jsonl.gz"], Names());
        Assert.Equal([3], Lines(3).Select(Counter));
        Assert.Equal([4], Lines(4).Select(Counter));
        Assert.Equal(5, await CountAsync("written"));
    }

    [Fact]
    public async Task What_the_disk_does_not_take_is_counted_and_said_once_and_the_trace_goes_on()
    {
        var trace = Create(new PassTraceOptions { Path = TracePath });
        var running = trace.RunAsync(_stop.Token);
        await _time.ArmedAsync();
        trace.Observe(0, ForwardPassPayloadTests.Pass(1));
        await TickAsync(TimeSpan.FromSeconds(5), "written", 1);
        var file = Path.Combine(_folder.Path, "traces", Names().Single());
        var kept = file + ".kept";
        File.Move(file, kept);
        Directory.CreateDirectory(file); // nobody can write there, whoever runs the test
        for (var i = 2; i < 4; i++)
        {
            trace.Observe(0, ForwardPassPayloadTests.Pass(i));
            await TickAsync(TimeSpan.FromSeconds(5), "failed", i - 1);
        }

        Directory.Delete(file);
        File.Move(kept, file);
        trace.Observe(0, ForwardPassPayloadTests.Pass(4));
        await StopAsync(running);
        Assert.Equal([1, 4], Lines(0).Select(Counter));
        Assert.Equal((2, 2), (await CountAsync("written"), await CountAsync("failed")));
        Assert.Equal([5150, 5152, 5153], _log.Lines.Select(line => line.EventId));
    }

    [Fact]
    public async Task A_trace_that_nobody_empties_drops_its_oldest_and_holds_nobody_up()
    {
        var trace = Create(new PassTraceOptions { Path = TracePath, IsFull = true });
        for (var i = 0; i < 4100; i++)
        {
            trace.Observe(0, ForwardPassPayloadTests.Pass(i));
        }

        Assert.Equal(4, await CountAsync("dropped"));
        await _stop.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => trace.RunAsync(_stop.Token));
        Assert.Equal(4, Counter(Lines(0)[0]));
        Assert.Equal(4096, await CountAsync("written"));
    }

    [Fact]
    public async Task Where_no_file_can_be_written_the_worker_goes_on_without()
    {
        var trace = Create(new PassTraceOptions { Path = Path.Combine(_folder.Write("file", ""), "below", "pass") });
        await trace.RunAsync(CancellationToken.None);
        Assert.Contains("continuing without local persistence", Assert.Single(_log.Lines).Text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_message_that_is_no_pass_is_counted()
    {
        var trace = Create(new PassTraceOptions { Path = TracePath });
        trace.Observe(0, [1]);
        await _stop.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => trace.RunAsync(_stop.Token));
        Assert.Equal((1, 0), (await CountAsync("malformed"), await CountAsync("written")));
        Assert.Empty(Names());
    }

    public void Dispose()
    {
        _stop.Dispose();
        _log.Dispose();
        _folder.Dispose();
    }

    private static int Counter(JsonNode line) => line["event"]!["fpm"]!["counter_id"]!.GetValue<int>();

    private static JsonObject Without(JsonObject value, string name)
    {
        value.Remove(name);
        return value;
    }

    private PassTrace Create(PassTraceOptions options) =>
        new(options, new EndpointId("space", "back", "generate"), Producer, _registry, _time, _log.CreateLogger<PassTrace>());

    private async Task StopAsync(Task running)
    {
        await _stop.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => running);
    }

    /// <summary>One round of the loop, which is over when the count is reached.</summary>
    private async Task TickAsync(TimeSpan by, string outcome, double count)
    {
        _time.Advance(by);
        await Polling.UntilAsync(
            $"{outcome} is not {count}",
            TimeSpan.FromSeconds(30),
            async () => await CountAsync(outcome) >= count,
            () => _log.Text
        );
    }

    private string[] Names() =>
        [.. Directory.GetFiles(Path.GetDirectoryName(TracePath)!).Select(path => Path.GetFileName(path)).Order(StringComparer.Ordinal)];

    private IReadOnlyList<JsonNode> Lines(int number)
    {
        var name = string.Create(CultureInfo.InvariantCulture, $"pass.{Producer}.{number:D6}.jsonl.gz");
        return [.. GzipLines.Read(Path.Combine(Path.GetDirectoryName(TracePath)!, name)).Select(line => JsonNode.Parse(line)!)];
    }

    private async Task<double> CountAsync(string outcome)
    {
        using var text = new MemoryStream();
        await _registry.CollectAndExportAsTextAsync(text);
        var sample = $"dynamo_vllm_traced_passes_total{{outcome=\"{outcome}\"}} ";
        var line = System
            .Text.Encoding.UTF8.GetString(text.ToArray())
            .Split('\n')
            .Single(line => line.StartsWith(sample, StringComparison.Ordinal));
        return double.Parse(line[sample.Length..], CultureInfo.InvariantCulture);
    }
}
