using System.Diagnostics;
using Dynamo.Vllm.Worker.Logging;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Time.Testing;

namespace Dynamo.Vllm.UnitTests.Worker.Logging;

/// <summary>Lines of the log on their way to a collector.</summary>
public sealed partial class LogRecordsTests
{
    private readonly FakeTimeProvider _time = new(DateTimeOffset.UnixEpoch.AddDays(1));

    [Fact]
    public void A_line_keeps_its_sentence_its_fields_its_exception_and_its_request()
    {
        using var records = new LogRecords(new DynamoLogFilter(null), 4, _time);
        using var span = new Activity("request").Start();
        Say(records.CreateLogger("A.B"), "x", 5, new InvalidOperationException("why"));
        span.Stop();
        Say(records.CreateLogger("A.B"), "y", 6, null);

        Assert.True(records.Waiting.TryRead(out var line));
        Assert.Equal((_time.GetUtcNow(), LogLevel.Warning, "A.B", "x did 5"), (line.Time, line.Level, line.Category, line.Text));
        Assert.Equal((9999, "Say"), (line.Event.Id, line.Event.Name));
        Assert.Equal(["what=x", "how_many=5"], line.Fields.Take(2).Select(field => $"{field.Key}={field.Value}"));
        Assert.Equal("System.InvalidOperationException", line.Fields.Single(field => field.Key == "exception.type").Value);
        Assert.Equal("why", line.Fields.Single(field => field.Key == "exception.message").Value);
        Assert.Equal((span.TraceId, span.SpanId), (line.Span.TraceId, line.Span.SpanId));
        Assert.True(records.Waiting.TryRead(out var later));
        Assert.Equal(default, later.Span.TraceId);
    }

    [Fact]
    public void Only_what_is_written_is_kept_and_what_does_not_fit_is_counted()
    {
        using var records = new LogRecords(new DynamoLogFilter("error,a=debug"), 2, _time);
        Say(records.CreateLogger("b"), "x", 1, null);
        for (var i = 0; i < 5; i++)
        {
            Say(records.CreateLogger("a.c"), "x", i, null);
        }

        Assert.Equal((2, 3L), (records.Waiting.Count, records.Dropped));
    }

    [Fact]
    public void A_sentence_has_a_bound_and_nothing_is_kept_once_it_is_known_that_nothing_will_be_sent()
    {
        using var records = new LogRecords(new DynamoLogFilter(null), 4, _time);
        var logger = records.CreateLogger("a");
        Say(logger, new string('x', 100_000), 1, null);
        Assert.True(records.Waiting.TryRead(out var line));
        Assert.Equal(8195, line.Text.Length);
        Assert.Equal(8195, line.Fields[0].Value.Length);

        Say(logger, "waits", 1, null);
        records.Close();
        Say(logger, "late", 1, null);
        Assert.False(records.Waiting.TryRead(out _));
    }

    [LoggerMessage(EventId = 9999, Level = LogLevel.Warning, Message = "{What} did {HowMany}")]
    private static partial void Say(ILogger logger, string what, int howMany, Exception? exception);
}
