using System.Diagnostics;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Transports.Client;

namespace Dynamo.Vllm.Worker.Tools;

/// <summary>A guided tour: everything is the real thing but the model.</summary>
internal sealed class DemoTool
{
    private static readonly TimeSpan StartTimeLimit = TimeSpan.FromSeconds(60);

    private readonly TextWriter _output;
    private readonly bool _hasColours = !Console.IsOutputRedirected;

    public DemoTool(TextWriter output) => _output = output;

    public async Task<int> RunAsync(CancellationToken cancellationToken)
    {
        var store = Directory.CreateTempSubdirectory("dynamo_demo_").FullName;
        var model = Path.Combine(AppContext.BaseDirectory, "simulated", "model");
        await using var worker = new DemoWorker(store, model);
        try
        {
            return await TourAsync(worker, new DemoVocabulary(Path.Combine(model, "tokenizer.json")), cancellationToken)
                .ConfigureAwait(false);
        }
        catch (Exception exception)
            when (exception is InvalidOperationException or TimeoutException or WorkerCallException or IOException or HttpRequestException)
        {
            Say($"\nThe demo broke: {exception.Message}. The worker's log:");
            Say(worker.Log);
            return 1;
        }
        finally
        {
            Directory.Delete(store, recursive: true);
        }
    }

    private async Task<int> TourAsync(DemoWorker worker, DemoVocabulary vocabulary, CancellationToken cancellationToken)
    {
        Title("1. A worker starts");
        Say("   A process of its own embeds CPython, starts the simulated engine and registers in a file discovery store.");
        var started = Stopwatch.GetTimestamp();
        var port = await worker.Port.WaitAsync(StartTimeLimit, cancellationToken).ConfigureAwait(false);
        using var http = new HttpClient { BaseAddress = new Uri($"http://127.0.0.1:{port}") };
        Say(
            $"   /live answered {await StatusAsync(http, "/live", cancellationToken).ConfigureAwait(false)} after "
                + $"{Stopwatch.GetElapsedTime(started).TotalSeconds:F1} s"
        );
        await WaitUntilReadyAsync(http, cancellationToken).ConfigureAwait(false);
        var address = FileDirectoryReader.FindTcp(worker.Store, "generate")[0];
        Say($"   ready after {Stopwatch.GetElapsedTime(started).TotalSeconds:F1} s, process {worker.ProcessId}, serving at {address}");

        await using var client = await WorkerClient
            .ConnectAsync(address, PayloadCodec.MessagePack, cancellationToken)
            .ConfigureAwait(false);
        Title("2. Tokens, as the engine makes them");
        const string prompt = "Hello world, this is a test of a worker that holds an engine in one hand and a socket in the other";
        await StreamAsync(client, vocabulary, prompt, 24, guided: null, cancellationToken).ConfigureAwait(false);
        Say("   (the simulated model knows words, but not what they mean)\n");
        await StreamAsync(client, vocabulary, prompt, 24, guided: null, cancellationToken).ConfigureAwait(false);
        Say("   The same prompt again: the same tokens, and whole blocks of the prompt came out of the prefix cache.");

        Title("3. A constrained answer");
        var choice = new JsonObject { ["choice"] = new JsonArray("the worker drains: it takes no new requests and finishes those it has") };
        await StreamAsync(client, vocabulary, "what is a drain", 64, choice, cancellationToken).ConfigureAwait(false);

        Title("4. A bad request is an answer, not a silence");
        await ShowErrorAsync(client, cancellationToken).ConfigureAwait(false);

        Title("5. A client that leaves");
        await ShowCancelAsync(client, http, vocabulary, cancellationToken).ConfigureAwait(false);

        Title("6. SIGTERM while a request runs");
        return await ShowDrainAsync(worker, client, vocabulary, cancellationToken).ConfigureAwait(false);
    }

    private async Task StreamAsync(
        WorkerClient client,
        DemoVocabulary vocabulary,
        string prompt,
        int maxTokens,
        JsonObject? guided,
        CancellationToken cancellationToken
    )
    {
        Write($"   {Dim(prompt)} ");
        JsonNode? usage = null;
        string? finish = null;
        await using var call = await client
            .CallAsync(CallTool.Request(vocabulary.Encode(prompt), maxTokens, guided), cancellationToken)
            .ConfigureAwait(false);
        await foreach (var item in call.ReadAsync(cancellationToken).ConfigureAwait(false))
        {
            var data = item["data"] ?? throw new WorkerCallException(item.ToJsonString());
            Write(Bright(vocabulary.Decode(data["token_ids"]!.AsArray().Select(id => id!.GetValue<int>()))));
            usage = data["completion_usage"] ?? usage;
            finish = data["finish_reason"]?.GetValue<string>() ?? finish;
        }

        Say(
            $"\n   finish: {finish}, prompt tokens: {usage?["prompt_tokens"]}, cached: "
                + $"{usage?["prompt_tokens_details"]?["cached_tokens"]}, generated: {usage?["completion_tokens"]}"
        );
    }

    private async Task ShowErrorAsync(WorkerClient client, CancellationToken cancellationToken)
    {
        await using var call = await client.CallAsync("""{"token_ids":[1,2.5]}"""u8.ToArray(), cancellationToken).ConfigureAwait(false);
        await foreach (var item in call.ReadAsync(cancellationToken).ConfigureAwait(false))
        {
            Say($"   sent token_ids [1, 2.5], got {item["error"]?["class"]}: {item["error"]?["message"]}");
        }
    }

    private async Task ShowCancelAsync(WorkerClient client, HttpClient http, DemoVocabulary vocabulary, CancellationToken cancellationToken)
    {
        await using var call = await client
            .CallAsync(CallTool.Request(vocabulary.Encode("tell me everything"), 900), cancellationToken)
            .ConfigureAwait(false);
        var seen = 0;
        try
        {
            await foreach (var item in call.ReadAsync(cancellationToken).ConfigureAwait(false))
            {
                if (++seen == 10)
                {
                    Say("   after 10 of 900 tokens the client says kill");
                    await call.KillAsync(cancellationToken).ConfigureAwait(false);
                }
            }
        }
        catch (WorkerCallException)
        {
            // The worker closes without a final item, as it should after a kill.
        }

        var cancelled = (await http.GetStringAsync("/metrics", cancellationToken).ConfigureAwait(false))
            .Split('\n')
            .First(line =>
                line.StartsWith("dynamo_component_cancellation_total", StringComparison.Ordinal)
                && line.Contains("generate", StringComparison.Ordinal)
            );
        Say(
            $"   the stream ended after {seen} items; /metrics says: "
                + $"{cancelled[..cancelled.IndexOf('{', StringComparison.Ordinal)]} {cancelled.Split(' ')[^1]}"
        );
    }

    private async Task<int> ShowDrainAsync(
        DemoWorker worker,
        WorkerClient client,
        DemoVocabulary vocabulary,
        CancellationToken cancellationToken
    )
    {
        await using var call = await client
            .CallAsync(CallTool.Request(vocabulary.Encode("one last thing"), 60), cancellationToken)
            .ConfigureAwait(false);
        var seen = 0;
        await foreach (var item in call.ReadAsync(cancellationToken).ConfigureAwait(false))
        {
            if (seen == 0)
            {
                worker.Terminate();
                Say("   SIGTERM sent: the worker leaves discovery, takes nothing new, and finishes what it has");
            }

            seen += item["data"]?["token_ids"]?.AsArray().Count ?? 0;
        }

        var code = await worker.WaitForExitAsync(cancellationToken).ConfigureAwait(false);
        Say(
            $"   the request got all of its {seen} tokens, complete: {call.IsComplete}; records left in the store: "
                + $"{FileDirectoryReader.FindTcp(worker.Store, "generate").Count}; exit code {code}"
        );
        var isFine = call.IsComplete && seen == 60 && code == 0;
        Say(
            isFine ? "\nThat was the whole life of a worker. Next: README.md, \"With a real Dynamo\"." : "\nThat is not how it should end."
        );
        return isFine ? 0 : 1;
    }

    private static async Task WaitUntilReadyAsync(HttpClient http, CancellationToken cancellationToken)
    {
        var started = Stopwatch.GetTimestamp();
        while (await StatusAsync(http, "/health", cancellationToken).ConfigureAwait(false) != 200)
        {
            if (Stopwatch.GetElapsedTime(started) > StartTimeLimit)
            {
                throw new TimeoutException($"the worker is not ready after {StartTimeLimit.TotalSeconds} s");
            }

            await Task.Delay(50, cancellationToken).ConfigureAwait(false);
        }
    }

    private static async Task<int> StatusAsync(HttpClient http, string path, CancellationToken cancellationToken)
    {
        using var response = await http.GetAsync(path, cancellationToken).ConfigureAwait(false);
        return (int)response.StatusCode;
    }

    private void Title(string text) => Say($"\n{(_hasColours ? "\x1b[1;36m" : "")}{text}{(_hasColours ? "\x1b[0m" : "")}");

    private string Bright(string text) => _hasColours ? $"\x1b[32m{text}\x1b[0m" : text;

    private string Dim(string text) => _hasColours ? $"\x1b[2m{text}\x1b[0m" : text + " |";

    private void Say(string text)
    {
        _output.WriteLine(text);
        _output.Flush();
    }

    private void Write(string text)
    {
        _output.Write(text);
        _output.Flush();
    }
}
