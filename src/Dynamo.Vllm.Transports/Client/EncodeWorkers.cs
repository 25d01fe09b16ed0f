using System.Net.Sockets;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.ImageEncoding;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.Errors;
using Dynamo.Vllm.Protocol.ImageEncoding;
using Microsoft.Extensions.Logging;

namespace Dynamo.Vllm.Transports.Client;

/// <summary>Asks encode workers over the TCP request plane, each in its turn. Thread-safe.</summary>
/// <remarks>
/// Who there is is looked up in the store, once a second at most and only while requests come. A worker that cannot be reached, or whose
/// stream breaks, is passed over for the next one, since an image may be encoded twice; what it refuses is refused.
/// </remarks>
public sealed partial class EncodeWorkers : IEncodeWorkers, IAsyncDisposable
{
    /// <summary>A look at the store costs it a listing.</summary>
    private static readonly TimeSpan LookInterval = TimeSpan.FromSeconds(1);

    private static readonly TimeSpan ConnectLimit = TimeSpan.FromSeconds(5);

    /// <summary>For fetching and encoding the images of one request: their fetch alone may take half a minute.</summary>
    private static readonly TimeSpan AnswerLimit = TimeSpan.FromSeconds(120);

    private readonly Func<CancellationToken, Task<IReadOnlyList<JsonObject>>> _list;
    private readonly bool _splits;
    private readonly TimeProvider _time;
    private readonly ILogger<EncodeWorkers> _logger;
    private readonly SemaphoreSlim _looking = new(1, 1);
    private readonly Lock _lock = new();
    private readonly Dictionary<string, WorkerClient> _clients = [];
    private IReadOnlyList<string> _addresses = [];
    private long _lookedAt;
    private bool _hasLooked;
    private uint _turn;

    /// <param name="list">The records of the encode workers' endpoint.</param>
    /// <param name="splits">The images of a request are spread over the workers; otherwise one worker gets all.</param>
    /// <param name="time">For limits.</param>
    /// <param name="logger">Told of workers that are passed over.</param>
    public EncodeWorkers(
        Func<CancellationToken, Task<IReadOnlyList<JsonObject>>> list,
        bool splits,
        TimeProvider time,
        ILogger<EncodeWorkers> logger
    )
    {
        _list = list;
        _splits = splits;
        _time = time;
        _logger = logger;
    }

    /// <summary>How many there are now.</summary>
    public async Task<int> CountAsync(CancellationToken cancellationToken) =>
        (await FindAsync(cancellationToken).ConfigureAwait(false)).Count;

    public async Task<IReadOnlyList<EncodedImage>> EncodeAsync(EncodeRequest request, CancellationToken cancellationToken)
    {
        var addresses = await FindAsync(cancellationToken).ConfigureAwait(false);
        if (addresses.Count == 0)
        {
            throw Unavailable("No encode workers available to process multimodal input");
        }

        var size = _splits ? Math.Max(1, request.Urls.Count / addresses.Count) : request.Urls.Count;
        var parts = request.Urls.Chunk(size).Select(urls => request with { Urls = urls });
        var answers = await FailFast
            .AllAsync(
                parts.Select(part =>
                    (Func<CancellationToken, Task<IReadOnlyList<EncodedImage>>>)(stop => AskAnyAsync(part, addresses, stop))
                ),
                cancellationToken
            )
            .ConfigureAwait(false);
        return [.. answers.SelectMany(answer => answer)];
    }

    public async ValueTask DisposeAsync()
    {
        List<WorkerClient> clients;
        lock (_lock)
        {
            clients = [.. _clients.Values];
            _clients.Clear();
        }

        foreach (var client in clients)
        {
            await client.DisposeAsync().ConfigureAwait(false);
        }

        _looking.Dispose();
    }

    private async Task<IReadOnlyList<EncodedImage>> AskAnyAsync(
        EncodeRequest request,
        IReadOnlyList<string> addresses,
        CancellationToken cancellationToken
    )
    {
        var first = Interlocked.Increment(ref _turn);
        for (var i = 0; i < addresses.Count; i++)
        {
            var address = addresses[(int)((first + i) % addresses.Count)];
            try
            {
                return await AskAsync(request, address, cancellationToken).ConfigureAwait(false);
            }
            catch (Exception exception) when (exception is WorkerCallException or SocketException or IOException or ProtocolException)
            {
                LogPassedOver(_logger, address, exception.Message);
                await ForgetAsync(address).ConfigureAwait(false);
            }
        }

        throw Unavailable($"none of {addresses.Count} encode workers could be asked");
    }

    private async Task<IReadOnlyList<EncodedImage>> AskAsync(EncodeRequest request, string address, CancellationToken cancellationToken)
    {
        using var limit = new CancellationTokenSource(AnswerLimit, _time);
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(limit.Token, cancellationToken);
        try
        {
            var client = await ConnectAsync(address, stop.Token).ConfigureAwait(false);
            await using var call = await client.CallAsync(request.ToBodyJson(), stop.Token, request.RequestId).ConfigureAwait(false);
            List<EncodedImage> images = [];
            await foreach (var item in call.ReadAsync(stop.Token).ConfigureAwait(false))
            {
                if (item["error"] is { } error)
                {
                    throw new RequestFailedException(
                        PeerError.AsClientFault(error) ?? DynamoError.Http(503, $"the encode worker failed: {PeerError.Describe(error)}")
                    );
                }

                images.AddRange(EncodeRequest.ParseAnswer(item["data"]));
            }

            return images.Count == request.Urls.Count
                ? images
                : throw new ProtocolException($"it answered {images.Count} images, and was asked for {request.Urls.Count}");
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            await ForgetAsync(address).ConfigureAwait(false);
            throw Unavailable($"an encode worker did not answer within {AnswerLimit.TotalSeconds:0} s");
        }
    }

    private async Task<WorkerClient> ConnectAsync(string address, CancellationToken cancellationToken)
    {
        lock (_lock)
        {
            if (_clients.TryGetValue(address, out var known))
            {
                return known;
            }
        }

        using var limit = new CancellationTokenSource(ConnectLimit, _time);
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(limit.Token, cancellationToken);
        WorkerClient client;
        try
        {
            client = await WorkerClient.ConnectAsync(address, PayloadCodec.MessagePack, stop.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            throw new WorkerCallException($"it cannot be reached within {ConnectLimit.TotalSeconds:0} s");
        }

        WorkerClient kept;
        lock (_lock)
        {
            kept = _clients.TryAdd(address, client) ? client : _clients[address];
        }

        if (kept != client)
        {
            await client.DisposeAsync().ConfigureAwait(false); // another request was faster
        }

        return kept;
    }

    /// <summary>The next request to it connects again; requests under way over its connection break, and are asked elsewhere.</summary>
    private async Task ForgetAsync(string address)
    {
        lock (_lock)
        {
            _hasLooked = false;
        }

        await CloseAsync(address).ConfigureAwait(false);
    }

    private async Task CloseAsync(string address)
    {
        WorkerClient? client;
        lock (_lock)
        {
            _clients.Remove(address, out client);
        }

        if (client is not null)
        {
            await client.DisposeAsync().ConfigureAwait(false);
        }
    }

    private async Task<IReadOnlyList<string>> FindAsync(CancellationToken cancellationToken)
    {
        if (IsFresh())
        {
            return _addresses;
        }

        await _looking.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            if (!IsFresh())
            {
                await LookAsync(cancellationToken).ConfigureAwait(false);
            }

            return _addresses;
        }
        finally
        {
            _looking.Release();
        }
    }

    private async Task LookAsync(CancellationToken cancellationToken)
    {
        try
        {
            var records = await _list(cancellationToken).ConfigureAwait(false);
            _addresses = [.. records.Select(AddressOf).OfType<string>().Order(StringComparer.Ordinal)];
        }
        catch (IOException exception)
        {
            LogStoreAway(_logger, exception.Message); // those that are known may be there all the same
        }

        lock (_lock)
        {
            _lookedAt = _time.GetTimestamp();
            _hasLooked = true;
        }

        await CloseLeftAsync().ConfigureAwait(false);
    }

    private async Task CloseLeftAsync()
    {
        List<string> gone;
        lock (_lock)
        {
            gone = [.. _clients.Keys.Except(_addresses)];
        }

        foreach (var address in gone)
        {
            await CloseAsync(address).ConfigureAwait(false);
        }
    }

    private bool IsFresh()
    {
        lock (_lock)
        {
            return _hasLooked && _time.GetElapsedTime(_lookedAt) < LookInterval;
        }
    }

    private static string? AddressOf(JsonObject record) =>
        record["transport"] is JsonObject transport && transport["tcp"] is JsonValue value && value.TryGetValue<string>(out var address)
            ? address
            : null;

    /// <summary>The next request may fare better, and not on another worker than this: it asks the same encode workers.</summary>
    private static RequestFailedException Unavailable(string message) => new(DynamoError.Http(503, message));

    [LoggerMessage(EventId = 3751, Level = LogLevel.Warning, Message = "The encode worker at {Address} is passed over: {Problem}")]
    private static partial void LogPassedOver(ILogger logger, string address, string problem);

    [LoggerMessage(EventId = 3752, Level = LogLevel.Warning, Message = "Encode workers cannot be looked up, those known stay: {Problem}")]
    private static partial void LogStoreAway(ILogger logger, string problem);
}
