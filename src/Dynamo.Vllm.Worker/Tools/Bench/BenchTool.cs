using System.Net;
using System.Text.Json;
using Dynamo.Vllm.Python.Platform;
using Dynamo.Vllm.Worker.Configuration;
using Dynamo.Vllm.Worker.Logging;

namespace Dynamo.Vllm.Worker.Tools.Bench;

/// <summary>A run of <c>bench</c>: is the server there, warm-up, the run, the summary.</summary>
internal sealed class BenchTool
{
    /// <summary>128 and the number of SIGINT, as shells have it.</summary>
    public const int Interrupted = 130;

    /// <summary>Descriptors of the program itself.</summary>
    private const int DescriptorsBesides = 128;

    private const int ModelsBytesMax = 4 << 20;

    private static readonly TimeSpan ConnectLimit = TimeSpan.FromSeconds(30);
    private static readonly TimeSpan LookLimit = TimeSpan.FromSeconds(30);
    private static readonly TimeSpan LookInterval = TimeSpan.FromSeconds(1);

    private readonly BenchOptions _options;
    private readonly HttpClient _http;
    private readonly TextWriter _output;
    private readonly TextWriter _progress;
    private readonly bool _redraws;
    private readonly TimeProvider _time;

    /// <param name="options">What to do.</param>
    /// <param name="http">Connects; bounded by its owner.</param>
    /// <param name="output">Takes the result.</param>
    /// <param name="progress">Takes the progress, and what goes wrong.</param>
    /// <param name="redraws">The progress is on a terminal.</param>
    /// <param name="time">Clock.</param>
    public BenchTool(BenchOptions options, HttpClient http, TextWriter output, TextWriter progress, bool redraws, TimeProvider time)
    {
        _options = options;
        _http = http;
        _output = output;
        _progress = progress;
        _redraws = redraws;
        _time = time;
    }

    /// <exception cref="FormatException">There are too few descriptors for what is asked for.</exception>
    public static async Task<int> RunAsync(BenchOptions options, CancellationToken cancellationToken)
    {
        var descriptors = DescriptorLimit.Raise();
        if (options.ConnectionsMax + DescriptorsBesides > descriptors)
        {
            throw new FormatException(
                $"--max-concurrency: {options.ConnectionsMax} requests at a time need {options.ConnectionsMax + DescriptorsBesides} open "
                    + $"files, and the limit is {descriptors} (ulimit -n)"
            );
        }

        using var handler = CreateHandler(options);
        using var http = new HttpClient(handler) { Timeout = Timeout.InfiniteTimeSpan };
        return await new BenchTool(options, http, Console.Out, Console.Error, !Console.IsErrorRedirected, TimeProvider.System)
            .RunAsync(cancellationToken)
            .ConfigureAwait(false);
    }

    public static void AddHeaders(HttpRequestMessage message, BenchOptions options)
    {
        if (Environment.GetEnvironmentVariable("OPENAI_API_KEY") is { Length: > 0 } key)
        {
            message.Headers.TryAddWithoutValidation("Authorization", $"Bearer {key}");
        }

        foreach (var (name, value) in options.Headers)
        {
            message.Headers.Remove(name);
            message.Headers.TryAddWithoutValidation(name, value);
        }
    }

    /// <returns>0, 1 where requests failed or the server is not there, 130 after an interrupt.</returns>
    public async Task<int> RunAsync(CancellationToken cancellationToken)
    {
        try
        {
            var model = await FindModelAsync(cancellationToken).ConfigureAwait(false);
            var client = new BenchClient(_http, _options, _time);
            var requests = new RequestFactory(_options, model);
            if (_options.Warmups > 0)
            {
                await ShowAsync($"Warming up with {_options.Warmups} requests...").ConfigureAwait(false);
                var warmup = await MeasureAsync(Run(first: _options.Prompts), _options.Warmups, double.PositiveInfinity, cancellationToken)
                    .ConfigureAwait(false);
                await _progress.WriteAsync(BenchText.Failures(warmup)).ConfigureAwait(false);
            }

            cancellationToken.ThrowIfCancellationRequested();
            await ShowAsync($"Starting main benchmark run: {_options.Prompts} requests to {_options.Url}").ConfigureAwait(false);
            var summary = await MeasureAsync(Run(first: 0), _options.Prompts, _options.Rate, cancellationToken).ConfigureAwait(false);
            await _output.WriteAsync(BenchText.Of(summary)).ConfigureAwait(false);
            await SaveAsync(summary, model).ConfigureAwait(false);
            return cancellationToken.IsCancellationRequested ? Interrupted
                : summary.Failed > 0 ? ExitCodes.Failure
                : ExitCodes.Success;

            // A warm-up with prompts of its own: those of the run must not be in a prefix cache already.
            BenchRun Run(int first) => new(_options, client, requests, first, _time);
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            return Interrupted; // before there was anything to sum up
        }
        catch (BenchException exception)
        {
            await _progress.WriteLineAsync($"bench: {exception.Message}").ConfigureAwait(false);
            return ExitCodes.Failure;
        }
    }

    private static SocketsHttpHandler CreateHandler(BenchOptions options) =>
        new()
        {
            MaxConnectionsPerServer = options.ConnectionsMax,
            ConnectTimeout = ConnectLimit,
            AutomaticDecompression = DecompressionMethods.None,
            AllowAutoRedirect = false,
        };

    private async Task<BenchSummary> MeasureAsync(BenchRun run, int count, double rate, CancellationToken cancellationToken)
    {
        var began = _time.GetTimestamp();
        using var end = new CancellationTokenSource();
        var shown = _options.ShowsProgress
            ? new BenchProgress(run, count, _progress, _redraws, _time).ShowAsync(end.Token)
            : Task.CompletedTask;
        var attempts = await run.RunAsync(count, rate, cancellationToken).ConfigureAwait(false);
        var duration = _time.GetElapsedTime(began);
        await end.CancelAsync().ConfigureAwait(false);
        await shown.ConfigureAwait(false);
        return new BenchSummary(_options, attempts, duration);
    }

    /// <summary>The server answers, and the model has a name.</summary>
    private async Task<string> FindModelAsync(CancellationToken cancellationToken)
    {
        var began = _time.GetTimestamp();
        while (true)
        {
            try
            {
                return await AskModelAsync(cancellationToken).ConfigureAwait(false);
            }
            catch (BenchException exception) when (exception.Passes && _time.GetElapsedTime(began) < _options.ReadyTimeout)
            {
                await Task.Delay(LookInterval, _time, cancellationToken).ConfigureAwait(false);
            }
        }
    }

    private async Task<string> AskModelAsync(CancellationToken cancellationToken)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        limit.CancelAfter(LookLimit);
        try
        {
            using var message = new HttpRequestMessage(HttpMethod.Get, _options.ModelsUrl);
            AddHeaders(message, _options);
            using var response = await _http
                .SendAsync(message, HttpCompletionOption.ResponseHeadersRead, limit.Token)
                .ConfigureAwait(false);
            if (_options.Model is { } named)
            {
                return named; // it answers, and has the last word on the name
            }

            if (!response.IsSuccessStatusCode)
            {
                throw new BenchException(
                    $"{_options.ModelsUrl} answers {(int)response.StatusCode}; name the model with --model",
                    passes: true
                );
            }

            await response.Content.LoadIntoBufferAsync(ModelsBytesMax, limit.Token).ConfigureAwait(false);
            using var document = JsonDocument.Parse(await response.Content.ReadAsByteArrayAsync(limit.Token).ConfigureAwait(false));
            return FirstModel(document.RootElement)
                ?? throw new BenchException($"{_options.ModelsUrl} lists no model yet: is a worker registered?", passes: true);
        }
        catch (HttpRequestException exception)
        {
            throw Unreachable(exception.Message);
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            throw Unreachable($"no answer within {LookLimit.TotalSeconds} s");
        }
        catch (JsonException exception)
        {
            throw new BenchException(
                $"{_options.ModelsUrl} answers no JSON ({exception.Message}); name the model with --model",
                passes: false
            );
        }
    }

    private static string? FirstModel(JsonElement models) =>
        models.ValueKind == JsonValueKind.Object
        && models.TryGetProperty("data", out var data)
        && data.ValueKind == JsonValueKind.Array
        && data.GetArrayLength() > 0
        && data[0].ValueKind == JsonValueKind.Object
        && data[0].TryGetProperty("id", out var id)
            ? id.GetString()
            : null;

    private BenchException Unreachable(string problem) =>
        new(
            $"{_options.BaseUrl.GetLeftPart(UriPartial.Authority)} cannot be reached: "
                + $"{LogText.Shorten(problem, Failure.MessageLengthMax)}. "
                + "Is the frontend up, and are --host and --port, or --base-url, its address?",
            passes: true
        );

    private async Task SaveAsync(BenchSummary summary, string model)
    {
        if (_options.File is not { } file)
        {
            return;
        }

        try
        {
            var path = BenchFile.Write(file, summary, model, _time.GetLocalNow());
            await ShowAsync($"Saved to {path}").ConfigureAwait(false);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new BenchException($"the result cannot be saved: {exception.Message}", passes: false);
        }
    }

    private Task ShowAsync(string text) => _options.ShowsProgress ? _progress.WriteLineAsync(text) : Task.CompletedTask;
}
