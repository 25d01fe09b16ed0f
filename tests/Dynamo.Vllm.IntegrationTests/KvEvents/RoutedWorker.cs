using System.Buffers.Binary;
using System.Text;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.Discovery;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Core.KvEvents;
using Dynamo.Vllm.Core.Metrics;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.IntegrationTests.Zmq;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.Discovery;
using Dynamo.Vllm.Protocol.MessagePack;
using Dynamo.Vllm.Protocol.Requests;
using Dynamo.Vllm.Protocol.Responses;
using Dynamo.Vllm.Testing.Relay;
using Dynamo.Vllm.Transports;
using Dynamo.Vllm.Transports.Discovery;
using Dynamo.Vllm.Transports.Tcp;
using Dynamo.Vllm.Transports.Zmq;
using Microsoft.Extensions.Logging.Abstractions;
using Prometheus;

namespace Dynamo.Vllm.IntegrationTests.KvEvents;

/// <summary>A worker of ours without an engine: a libzmq publisher stands in for its cache, and each request gets one token.</summary>
internal sealed class RoutedWorker : IEndpointHandler, IAsyncDisposable
{
    public const int BlockSize = 16;

    public const int Blocks = 64;

    private readonly ZmqPeer _cache;
    private readonly CollectorRegistry _registry = Prometheus.Metrics.NewCustomRegistry();
    private readonly EngineFake _engine;
    private readonly TcpRequestPlane _requests;
    private readonly WorkerRegistration _registration;
    private readonly KvRelayService _relay;
    private readonly ServedEndpoint _generate;
    private ulong _sequence;
    private int _requestCount;

    private RoutedWorker(string discovery, string engineEndpoint, ZmqPeer cache)
    {
        _cache = cache;
        _engine = new EngineFake(
            new EngineDescription
            {
                EngineVersion = "0.31.0",
                Model = "tiny",
                MaxModelLength = 1024,
                BlockSize = BlockSize,
                KvEventBlockSize = BlockSize,
                MaxNumSeqs = 8,
                MaxNumBatchedTokens = 2048,
                NumGpuBlocks = Blocks,
                KvEventsEndpoint = engineEndpoint,
            }
        );
        var metrics = new RuntimeMetrics(_registry, "test");
        var time = TimeProvider.System;
        var dispatcher = new RequestDispatcher(
            new TcpCallHomeDialer(new PlainConnections(), time, NullLogger<TcpCallHomeDialer>.Instance),
            new AdmissionLimits(),
            metrics.Dispatcher,
            time,
            NullLogger<RequestDispatcher>.Instance
        );
        _requests = new TcpRequestPlane(new TcpPlaneOptions(), dispatcher, new PlainConnections(), NullLogger<TcpRequestPlane>.Instance);
        _registration = new WorkerRegistration(
            new FileDiscovery(discovery, time, NullLogger<FileDiscovery>.Instance),
            _requests,
            "cpu",
            PayloadCodec.MessagePack,
            TimeProvider.System,
            NullLogger<WorkerRegistration>.Instance
        );
        var generate = new EndpointId("dynamo", "backend", "generate");
        _generate = new ServedEndpoint(generate, this, metrics.ForEndpoint(generate, "tiny"));
        Plane = new LossyPlane(new ZmqEventPlane("127.0.0.1", null, ConnectionCap.Unlimited, time, NullLogger<ZmqEventPlane>.Instance));
        _relay = new KvRelayService(
            new KvRelayOptions(),
            _engine,
            generate,
            _registration,
            Plane,
            new ZmqEventFeed(time),
            metrics,
            time,
            NullLogger<KvRelayService>.Instance
        );
    }

    public LossyPlane Plane { get; }

    public ulong Id => _registration.Instance.Value;

    public int Requests => Volatile.Read(ref _requestCount);

    public int[] LastTokens { get; private set; } = [];

    public static async Task<RoutedWorker> StartAsync(string discovery, JsonObject card)
    {
        var cache = ZmqPeer.Start("xpub");
        var worker = new RoutedWorker(discovery, (await cache.ReadAsync("endpoint")).GetValue<string>(), cache);
        await worker._registration.JoinAsync(CancellationToken.None);
        await worker._requests.StartAsync(CancellationToken.None);
        await worker._relay.StartAsync(CancellationToken.None);
        await worker._registration.ServeAsync(worker._generate, CancellationToken.None);
        await worker._registration.PutAsync(
            "card",
            instance => DiscoveryRecord.Model(worker._generate.Id, instance, card.DeepClone().AsObject()),
            CancellationToken.None
        );
        await cache.ReadAsync("subscribed");
        return worker;
    }

    public async Task HandleAsync(RequestContext context, IResponseWriter responses)
    {
        var request = PreprocessedRequestParser.Parse(context.Body.Span, context.Codec);
        LastTokens = request.TokenIds.ToArray();
        Interlocked.Increment(ref _requestCount);
        if (request.Routing.DataParallelRank is { } rank)
        {
            _relay.FirstTokens!.NotifyFirstToken(context.Id, rank);
        }

        await responses.WriteAsync(
            new TokenDelta
            {
                Index = 0,
                TokenIds = new[] { 45 },
                FinishReason = "length",
            }
        );
    }

    /// <summary>The cache now holds the prompt's whole blocks.</summary>
    public async Task StoreAsync(int[] tokens)
    {
        var count = tokens.Length / BlockSize;
        var entry = new JsonObject
        {
            ["type"] = "BlockStored",
            ["block_hashes"] = new JsonArray([.. Enumerable.Range(0, count).Select(i => JsonValue.Create(HashOf(tokens, i)))]),
            ["parent_block_hash"] = null,
            ["token_ids"] = new JsonArray([.. tokens.Take(count * BlockSize).Select(token => JsonValue.Create(token))]),
            ["block_size"] = BlockSize,
            ["medium"] = "GPU",
        };
        await SendAsync(entry);
    }

    public async Task RemoveAsync(int[] tokens) =>
        await SendAsync(
            new JsonObject
            {
                ["type"] = "BlockRemoved",
                ["block_hashes"] = new JsonArray([
                    .. Enumerable.Range(0, tokens.Length / BlockSize).Reverse().Select(i => JsonValue.Create(HashOf(tokens, i))),
                ]),
                ["medium"] = "GPU",
            }
        );

    public async Task ClearAsync() => await SendAsync(new JsonObject { ["type"] = "AllBlocksCleared" });

    public void ReportUsage(double usage) => _engine.Report(new EngineLoad(0, usage, 1, 0));

    public async Task<string> MetricsAsync()
    {
        using var stream = new MemoryStream();
        await _registry.CollectAndExportAsTextAsync(stream);
        return Encoding.UTF8.GetString(stream.ToArray());
    }

    public async ValueTask DisposeAsync()
    {
        await _registration.WithdrawAllAsync(CancellationToken.None);
        await _relay.DisposeAsync();
        await _registration.LeaveAsync(CancellationToken.None);
        await _requests.DisposeAsync();
        await _registration.DisposeAsync();
        await _cache.DisposeAsync();
    }

    private static ulong HashOf(int[] tokens, int block)
    {
        var hash = 14695981039346656037UL;
        foreach (var token in tokens.Take((block + 1) * BlockSize))
        {
            hash = unchecked((hash ^ (uint)token) * 1099511628211UL);
        }

        return hash;
    }

    private async Task SendAsync(JsonObject entry)
    {
        var output = new System.Buffers.ArrayBufferWriter<byte>();
        MessagePackJson.WriteMessagePack(Encoding.UTF8.GetBytes(new JsonArray(1.5, new JsonArray(entry), 0).ToJsonString()), output);
        var number = new byte[8];
        BinaryPrimitives.WriteUInt64BigEndian(number, _sequence++);
        await _cache.SendAsync([], number, output.WrittenSpan.ToArray());
    }
}
