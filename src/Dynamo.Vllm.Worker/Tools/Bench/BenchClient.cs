using System.Globalization;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json;
using Dynamo.Vllm.Worker.Logging;

namespace Dynamo.Vllm.Worker.Tools.Bench;

/// <summary>Sends one request and notes when its tokens come. Thread-safe.</summary>
/// <remarks>
/// What counts is what counts in <c>vllm bench serve</c>: a chunk with a choice is a token, times are those at which it was read, tokens
/// are the server's count. Unlike there an answer that ends without <c>[DONE]</c> is a failure, and so is an error in the middle of one.
/// </remarks>
internal sealed class BenchClient
{
    /// <summary>Of the body of an answer that is no stream; more is not looked at.</summary>
    private const int ErrorBytesMax = 16 << 10;

    /// <summary>Chunks beside those of tokens: of a role, of the end, of what a parser holds back.</summary>
    private const int ChunksBesides = 64;

    private static readonly MediaTypeHeaderValue Json = new("application/json");

    private readonly HttpClient _http;
    private readonly BenchOptions _options;
    private readonly TimeProvider _time;

    /// <param name="http">Connects; bounded by its owner.</param>
    /// <param name="options">Where, and for how long at most.</param>
    /// <param name="time">Clock.</param>
    public BenchClient(HttpClient http, BenchOptions options, TimeProvider time)
    {
        _http = http;
        _options = options;
        _time = time;
    }

    /// <summary>Never throws but for a defect: what goes wrong is in the attempt.</summary>
    /// <param name="request">What is sent.</param>
    /// <param name="id">Goes with it, for the server's log.</param>
    /// <param name="began">Timestamp of the run's begin.</param>
    /// <param name="queueTime">How long it has waited here.</param>
    /// <param name="cancellationToken">The run is over.</param>
    public async Task<Attempt> SendAsync(
        BenchRequest request,
        string id,
        long began,
        TimeSpan queueTime,
        CancellationToken cancellationToken
    )
    {
        var start = _time.GetTimestamp();
        var attempt = new Attempt
        {
            Start = _time.GetElapsedTime(began, start).TotalSeconds,
            QueueTime = queueTime.TotalSeconds,
            PromptTokens = request.PromptLength,
            Intervals = new List<double>(request.OutputLength),
        };
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        limit.CancelAfter(_options.RequestTimeout);
        try
        {
            using var message = CreateMessage(request, id);
            using var response = await _http
                .SendAsync(message, HttpCompletionOption.ResponseHeadersRead, limit.Token)
                .ConfigureAwait(false);
            attempt.Failure = response.IsSuccessStatusCode
                ? await ReadAsync(response, attempt, start, request.OutputLength, limit.Token).ConfigureAwait(false)
                : await RefusalAsync(response, limit.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            attempt.IsAbandoned = true;
        }
        catch (OperationCanceledException)
        {
            attempt.Failure = Fail("time-out", $"no end within {_options.RequestTimeout.TotalSeconds} s");
        }
        catch (Exception exception) when (exception is HttpRequestException or IOException)
        {
            // Boundary mapping (style E3), as the next one: what the server does wrong is a figure of the run.
            attempt.Failure = Fail("connection", exception.Message);
        }
        catch (Exception exception) when (exception is JsonException or FormatException)
        {
            attempt.Failure = Fail("unreadable answer", exception.Message);
        }

        return attempt;
    }

    private HttpRequestMessage CreateMessage(BenchRequest request, string id)
    {
        var content = new ReadOnlyMemoryContent(request.Body);
        content.Headers.ContentType = Json;
        var message = new HttpRequestMessage(HttpMethod.Post, _options.Url) { Content = content };
        BenchTool.AddHeaders(message, _options);
        message.Headers.TryAddWithoutValidation("x-request-id", id);
        return message;
    }

    private async Task<Failure?> ReadAsync(
        HttpResponseMessage response,
        Attempt attempt,
        long start,
        int outputLength,
        CancellationToken cancellationToken
    )
    {
        using var stream = await response.Content.ReadAsStreamAsync(cancellationToken).ConfigureAwait(false);
        var parser = new SseParser();
        var chunksLeft = (2 * outputLength) + ChunksBesides; // of a server that goes on and on
        var last = 0L;
        while (true)
        {
            while (parser.TryRead(out var streamEvent))
            {
                var data = streamEvent.Data.Span;
                if (data.SequenceEqual("[DONE]"u8))
                {
                    return last == 0 ? Fail("no token", "the answer ended without a token") : null;
                }

                if (streamEvent.Name is "error")
                {
                    return Fail("error in the stream", ErrorOf(data));
                }

                if (data.IsEmpty)
                {
                    continue;
                }

                var chunk = AnswerChunk.Read(data);
                if (chunk.Error is { } error)
                {
                    return Fail("error in the stream", error);
                }

                attempt.PromptTokens = chunk.PromptTokens ?? attempt.PromptTokens;
                attempt.OutputTokens = chunk.CompletionTokens ?? attempt.OutputTokens;
                if (chunk.HasChoice)
                {
                    last = Note(attempt, start, last);
                    if (--chunksLeft < 0)
                    {
                        return Fail("too long", $"more than {(2 * outputLength) + ChunksBesides} chunks for {outputLength} tokens");
                    }
                }
            }

            var read = await stream.ReadAsync(parser.Space(), cancellationToken).ConfigureAwait(false);
            if (read == 0)
            {
                return Fail("cut off", "the stream ended without [DONE]");
            }

            parser.Advance(read);
        }
    }

    private long Note(Attempt attempt, long start, long last)
    {
        var now = _time.GetTimestamp();
        if (last == 0)
        {
            attempt.FirstToken = _time.GetElapsedTime(start, now).TotalSeconds;
            attempt.OutputTokens = Math.Max(1, attempt.OutputTokens);
        }
        else
        {
            attempt.Intervals.Add(_time.GetElapsedTime(last, now).TotalSeconds);
        }

        attempt.Latency = _time.GetElapsedTime(start, now).TotalSeconds;
        return now;
    }

    private static async Task<Failure> RefusalAsync(HttpResponseMessage response, CancellationToken cancellationToken)
    {
        using var stream = await response.Content.ReadAsStreamAsync(cancellationToken).ConfigureAwait(false);
        var body = new byte[ErrorBytesMax];
        var length = await stream.ReadAtLeastAsync(body, body.Length, throwOnEndOfStream: false, cancellationToken).ConfigureAwait(false);
        var kind = string.Create(CultureInfo.InvariantCulture, $"HTTP {(int)response.StatusCode}");
        return Fail(kind, length > 0 ? ErrorOf(body.AsSpan(0, length)) : response.ReasonPhrase ?? "no body");
    }

    /// <summary>The message in it, else all of it.</summary>
    private static string ErrorOf(ReadOnlySpan<byte> text)
    {
        try
        {
            return AnswerChunk.Read(text).Error ?? Encoding.UTF8.GetString(text);
        }
        catch (JsonException)
        {
            return Encoding.UTF8.GetString(text);
        }
    }

    private static Failure Fail(string kind, string message) =>
        new(kind, LogText.Shorten(message.ReplaceLineEndings(" "), Failure.MessageLengthMax));
}
