using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Core.Health;
using Dynamo.Vllm.Worker.GatewayGrpc.Contract;
using Dynamo.Vllm.Worker.GrpcRequests;
using Grpc.Core;

namespace Dynamo.Vllm.Worker.GatewayGrpc;

/// <summary><c>vllm.grpc.engine.VllmEngine</c>: what the gateway smg asks of an engine. Token ids in and out.</summary>
internal sealed class EngineService : VllmEngine.VllmEngineBase
{
    /// <summary>Longer than any request should take to leave its blocks.</summary>
    private const float FlushSecondsMax = 600;

    private static readonly TimeSpan FlushInterval = TimeSpan.FromMilliseconds(100);

    private readonly GrpcIntake _intake;
    private readonly ControlRoutes _routes;
    private readonly KvSubscriptions _subscriptions;
    private readonly TokenizerBundle _tokenizer;
    private readonly HealthState _health;
    private readonly TimeProvider _time;

    public EngineService(
        GrpcIntake intake,
        ControlRoutes routes,
        KvSubscriptions subscriptions,
        TokenizerBundle tokenizer,
        HealthState health,
        TimeProvider time
    )
    {
        _intake = intake;
        _routes = routes;
        _subscriptions = subscriptions;
        _tokenizer = tokenizer;
        _health = health;
        _time = time;
    }

    /// <summary>Calls that are requests, tell something, or end a request of whoever knows its id: a gateway cannot show a token.</summary>
    public static IReadOnlySet<string> OpenCalls { get; } =
        new HashSet<string>(StringComparer.Ordinal)
        {
            nameof(Generate),
            nameof(Embed),
            nameof(HealthCheck),
            nameof(Abort),
            nameof(GetModelInfo),
            nameof(GetServerInfo),
            nameof(GetLoads),
            nameof(GetTokenizer),
            nameof(SubscribeKvEvents),
        };

    public override async Task Generate(
        GenerateRequest request,
        IServerStreamWriter<GenerateResponse> responseStream,
        ServerCallContext context
    )
    {
        var serving = _intake.Enter();
        var write = GrpcRequestRun.WriterTo(responseStream);
        GatewayCaller caller = request.Stream
            ? new StreamCaller(write, context.CancellationToken)
            : new WholeCaller(write, context.CancellationToken);
        await GrpcRequestRun
            .ServeAsync(
                serving,
                GrpcRequestRun.IdOf(request.RequestId),
                request,
                context,
                caller,
                () =>
                {
                    var read = GatewayRequestReader.Read(request, serving.Engine.Description);
                    caller.Expect(new AnswerBuilder(read));
                    return (read.Request, read.Text);
                }
            )
            .ConfigureAwait(false);
    }

    /// <summary>A worker that makes vectors does not serve this contract (<c>--grpc-requests</c>).</summary>
    public override Task<EmbedResponse> Embed(EmbedRequest request, ServerCallContext context) =>
        throw GrpcStatuses.Refused("This model does not support pooling");

    public override Task<HealthCheckResponse> HealthCheck(HealthCheckRequest request, ServerCallContext context)
    {
        var isHealthy = _health.IsReadyItself && _intake.IsInviting;
        return Task.FromResult(new HealthCheckResponse { Healthy = isHealthy, Message = isHealthy ? "Health" : "Engine is not serving" });
    }

    public override Task<AbortResponse> Abort(AbortRequest request, ServerCallContext context)
    {
        _intake.Serving.Abort(request.RequestIds);
        return Task.FromResult(new AbortResponse());
    }

    public override Task<GetModelInfoResponse> GetModelInfo(GetModelInfoRequest request, ServerCallContext context) =>
        Task.FromResult(GatewayFacts.Model(_intake.Serving));

    public override Task<GetServerInfoResponse> GetServerInfo(GetServerInfoRequest request, ServerCallContext context) =>
        Task.FromResult(GatewayFacts.Server(_intake.Serving));

    public override Task<GetLoadsResponse> GetLoads(GetLoadsRequest request, ServerCallContext context) =>
        Task.FromResult(GatewayLoads.All(_intake.Serving, request.HasDpRank ? request.DpRank : null, _time.GetUtcNow()));

    public override Task GetTokenizer(
        GetTokenizerRequest request,
        IServerStreamWriter<GetTokenizerChunk> responseStream,
        ServerCallContext context
    ) => _tokenizer.SendAsync(_intake.Serving, responseStream.WriteAsync, context.CancellationToken);

    public override Task SubscribeKvEvents(
        SubscribeKvEventsRequest request,
        IServerStreamWriter<KvEventBatch> responseStream,
        ServerCallContext context
    ) => _subscriptions.ServeAsync(_intake.Enter(), request, responseStream, context);

    /// <summary>Blocks of requests that run are in use: they are waited for, as long as the caller wants to.</summary>
    public override async Task<FlushCacheResponse> FlushCache(FlushCacheRequest request, ServerCallContext context)
    {
        if (request.TimeoutS is not (>= 0 and <= FlushSecondsMax))
        {
            throw GrpcStatuses.Refused($"timeout_s must be from 0 to {FlushSecondsMax}, got {request.TimeoutS}");
        }

        var (serving, started) = (_intake.Serving, _time.GetTimestamp());
        while (!await TryFlushAsync(serving, context.CancellationToken).ConfigureAwait(false))
        {
            if (_time.GetElapsedTime(started).TotalSeconds >= request.TimeoutS)
            {
                return new FlushCacheResponse { Message = "KV prefix cache not flushed: blocks are in use by requests that run" };
            }

            await Task.Delay(FlushInterval, _time, context.CancellationToken).ConfigureAwait(false);
        }

        return new FlushCacheResponse { Success = true, Message = "Local KV prefix cache flushed successfully" };
    }

    /// <summary>Where and when traces are written is the operator's to say (<c>--profiler-config</c>).</summary>
    public override async Task<ProfileResponse> StartProfile(StartProfileRequest request, ServerCallContext context)
    {
        if (!request.Equals(new StartProfileRequest()))
        {
            throw GrpcStatuses.Refused("only a profile without options is served; what it holds is set by --profiler-config");
        }

        return Done(await _routes.CallAsync("control/start_profile", [], context).ConfigureAwait(false));
    }

    public override async Task<ProfileResponse> StopProfile(StopProfileRequest request, ServerCallContext context) =>
        Done(await _routes.CallAsync("control/stop_profile", [], context).ConfigureAwait(false));

    private static async Task<bool> TryFlushAsync(GrpcServing serving, CancellationToken cancellationToken)
    {
        using var turn = await serving.Pause.EnterAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            return await serving
                .Engine.Control.ResetPrefixCacheAsync(resetConnector: false, resetRunningRequests: false, cancellationToken)
                .ConfigureAwait(false);
        }
        catch (EngineCallException exception)
        {
            throw new RpcException(new Status(StatusCode.Internal, exception.Message));
        }
    }

    private static ProfileResponse Done(JsonObject answer) => new() { Success = true, Message = answer["message"]?.ToString() ?? "" };
}
