using System.Text.Json;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol.Discovery;
using Dynamo.Vllm.Protocol.Errors;
using Dynamo.Vllm.Protocol.MessagePack;
using Dynamo.Vllm.Protocol.Requests;
using Dynamo.Vllm.Protocol.Responses;
using Dynamo.Vllm.Testing.Logs;
using Dynamo.Vllm.Transports.Discovery;
using Dynamo.Vllm.Transports.Tcp;

namespace Dynamo.Vllm.PeerTests;

/// <summary>A prefill worker without an engine, on real planes: it answers each request as the row under test says.</summary>
/// <remarks>One request at a time, so that the row and the counts belong to the request that the test sent.</remarks>
internal sealed class ScriptedPrefill : IEndpointHandler, ICallHomeDialer, IAsyncDisposable
{
    /// <summary>Tokens that the prefill worker says it had cached: the client must see this number and not the decode worker's.</summary>
    public const int CachedTokens = 7;

    private readonly TcpCallHomeDialer _dialer;
    private readonly PlaneWorker _planes;
    private int _calls;

    private ScriptedPrefill(string store, LogCapture log)
    {
        _dialer = new TcpCallHomeDialer(new PlainConnections(), TimeProvider.System, log.For<TcpCallHomeDialer>());
        _planes = PlaneWorker.Create(
            new FileDiscovery(store, TimeProvider.System, log.For<FileDiscovery>()),
            dispatcher => new TcpRequestPlane(new TcpPlaneOptions(), dispatcher, new PlainConnections(), log.For<TcpRequestPlane>()),
            this,
            log
        );
    }

    public PrefillBehaviour Behaviour { get; set; }

    public int Calls => Volatile.Read(ref _calls);

    /// <summary>Stop conditions of the last request.</summary>
    public JsonNode? StopConditions { get; private set; }

    /// <summary>Joins the store with the card of a prefill worker that fits the decode worker's.</summary>
    public static async Task<ScriptedPrefill> StartAsync(string store, JsonObject decodeCard, LogCapture log)
    {
        var card = decodeCard.DeepClone().AsObject();
        card["worker_type"] = "prefill";
        card["needs"] = new JsonArray(new JsonArray("decode"));
        card["model_type"] = "Prefill";
        var prefill = new ScriptedPrefill(store, log);
        await prefill._planes.JoinAsync(new EndpointId("dynamo", "prefill", "generate"), card, prefill);
        return prefill;
    }

    public async Task HandleAsync(RequestContext context, IResponseWriter responses)
    {
        var reader = new MessagePackReader(context.Body.Span);
        var request = JsonNode.Parse(MessagePackJson.ReadAsJson(ref reader))!;
        StopConditions = request["stop_conditions"]?.DeepClone();
        switch (Behaviour)
        {
            case PrefillBehaviour.SendsNothing:
                return;
            case PrefillBehaviour.SendsErrorItem:
                throw new RequestFailedException(DynamoError.Unknown("scripted"));
            default:
                await responses.WriteAsync(JsonSerializer.SerializeToUtf8Bytes(Item(request["token_ids"]!.AsArray().Count)));
                break;
        }

        if (Behaviour == PrefillBehaviour.FailsAfterTheItem)
        {
            throw new RequestFailedException(DynamoError.Unknown("scripted"));
        }
    }

    public async Task<ICallHome> DialAsync(RequestEnvelope envelope, CancellationToken cancellationToken)
    {
        Interlocked.Increment(ref _calls); // here, since a refusal reaches the client before a handler has run
        return new ScriptedCallHome(this, await _dialer.DialAsync(envelope, cancellationToken));
    }

    public ValueTask DisposeAsync() => _planes.DisposeAsync();

    private JsonObject Item(int promptTokens)
    {
        var item = new JsonObject
        {
            ["token_ids"] = new JsonArray(300),
            ["completion_usage"] = new JsonObject
            {
                ["prompt_tokens"] = promptTokens,
                ["completion_tokens"] = 1,
                ["total_tokens"] = promptTokens + 1,
                ["prompt_tokens_details"] = new JsonObject { ["cached_tokens"] = CachedTokens },
            },
        };
        switch (Behaviour)
        {
            case PrefillBehaviour.GivesNoParameters:
                break;
            case PrefillBehaviour.GivesNullParameters:
                item["disaggregated_params"] = null;
                break;
            case PrefillBehaviour.GivesEmptyParameters:
                item["disaggregated_params"] = new JsonObject();
                break;
            case PrefillBehaviour.EndsWithErrorReason:
                item["finish_reason"] = "error: scripted";
                break;
            default:
                item["disaggregated_params"] = new JsonObject { ["kv_transfer_params"] = Transfer(promptTokens) };
                break;
        }

        if (Behaviour is PrefillBehaviour.HandsOverWithLength or PrefillBehaviour.StopsWithStop)
        {
            item["finish_reason"] = Behaviour == PrefillBehaviour.StopsWithStop ? "stop" : "length";
        }

        return item;
    }

    private static JsonObject Transfer(int promptTokens) =>
        new()
        {
            ["do_remote_prefill"] = true,
            ["do_remote_decode"] = false,
            ["remote_block_ids"] = new JsonArray(new JsonArray(1)),
            ["remote_engine_id"] = "scripted",
            ["remote_request_id"] = "scripted-1",
            ["remote_host"] = "127.0.0.1",
            ["remote_port"] = 1,
            ["tp_size"] = 1,
            ["remote_num_tokens"] = promptTokens,
            ["remote_blocks_expiry_time"] = null,
        };

    /// <summary>The response stream of the double: true to the wire except where the row is about the stream itself.</summary>
    private sealed class ScriptedCallHome(ScriptedPrefill owner, ICallHome home) : ICallHome
    {
        public long BodyBytes => home.BodyBytes;

        public Action? ItemSent
        {
            set => home.ItemSent = value;
        }

        public void Watch(RequestContext context) => home.Watch(context);

        public async ValueTask AcceptAsync()
        {
            if (owner.Behaviour == PrefillBehaviour.RefusesInThePrologue)
            {
                await home.RefuseAsync(DynamoError.WorkerUnavailable("scripted"));
                throw new IOException("scripted: the stream was refused"); // the dispatcher then writes nothing more
            }

            await home.AcceptAsync();
        }

        public ValueTask RefuseAsync(DynamoError error) => home.RefuseAsync(error);

        public ValueTask WriteAsync(TokenDelta delta) => home.WriteAsync(delta);

        public ValueTask WriteAsync(ReadOnlyMemory<byte> json) => home.WriteAsync(json);

        public ValueTask WriteBareAsync(ReadOnlyMemory<byte> messagePack) => home.WriteBareAsync(messagePack);

        public ValueTask WriteErrorAsync(DynamoError error) => home.WriteErrorAsync(error);

        public ValueTask CompleteAsync() =>
            owner.Behaviour == PrefillBehaviour.DropsTheConnection
                ? throw new IOException("scripted: the connection ends in the middle of the stream")
                : home.CompleteAsync();

        public ValueTask DisposeAsync() => home.DisposeAsync();
    }
}
