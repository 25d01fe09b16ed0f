using System.Text.Json.Nodes;
using Dynamo.Vllm.Worker.GrpcRequests;
using Dynamo.Vllm.Worker.NativeGrpc.Contract;
using Grpc.Core;

namespace Dynamo.Vllm.Worker.NativeGrpc;

/// <summary><c>vllm.Control</c>: what the engine is, and the worker's own control calls under the names of the contract.</summary>
internal sealed class ControlService : Contract.Control.ControlBase
{
    /// <summary>Until a trainer names one.</summary>
    private const string WeightVersionDefault = "default";

    private readonly GrpcIntake _intake;
    private readonly ControlRoutes _routes;

    public ControlService(GrpcIntake intake, ControlRoutes routes)
    {
        _intake = intake;
        _routes = routes;
    }

    /// <summary>Calls that tell something, or end a request of whoever knows its id: clients that cannot show a token need them.</summary>
    public static IReadOnlySet<string> OpenCalls { get; } =
        new HashSet<string>(StringComparer.Ordinal)
        {
            nameof(GetServerInfo),
            nameof(GetModelInfo),
            nameof(GetKvEventSources),
            nameof(GetWeightVersion),
            nameof(IsPaused),
            nameof(IsSleeping),
            nameof(ListLoras),
            nameof(Abort),
        };

    public override Task<ServerInfo> GetServerInfo(GetServerInfoRequest request, ServerCallContext context) =>
        Task.FromResult(ServerFacts.Server(_intake.Serving));

    public override Task<ModelInfo> GetModelInfo(GetModelInfoRequest request, ServerCallContext context) =>
        Task.FromResult(ServerFacts.Model(_intake.Serving));

    public override Task<GetKvEventSourcesResponse> GetKvEventSources(GetKvEventSourcesRequest request, ServerCallContext context) =>
        Task.FromResult(ServerFacts.EventSources(_intake.Serving));

    /// <summary>One that does not run, or no more, is no mistake.</summary>
    public override Task<AbortResponse> Abort(AbortRequest request, ServerCallContext context)
    {
        _intake.Serving.Abort(request.RequestIds);
        return Task.FromResult(new AbortResponse());
    }

    public override async Task<LoadLoraResponse> LoadLora(LoadLoraRequest request, ServerCallContext context) =>
        new() { Adapter = await AdapterCalls.LoadAsync(_intake.Serving, request, context.CancellationToken).ConfigureAwait(false) };

    public override async Task<UnloadLoraResponse> UnloadLora(UnloadLoraRequest request, ServerCallContext context) =>
        new()
        {
            Adapter = await AdapterCalls.UnloadAsync(_intake.Serving, request.LoraName, context.CancellationToken).ConfigureAwait(false),
        };

    public override Task<ListLorasResponse> ListLoras(ListLorasRequest request, ServerCallContext context) =>
        Task.FromResult(AdapterCalls.List(_intake.Serving));

    public override async Task<PauseGenerationResponse> PauseGeneration(PauseGenerationRequest request, ServerCallContext context)
    {
        var body = new JsonObject
        {
            ["mode"] = request.Mode switch
            {
                PauseMode.Keep => "keep",
                PauseMode.Wait => "wait",
                PauseMode.Unspecified or PauseMode.Abort => "abort",
                var unknown => throw GrpcStatuses.Refused($"mode: {(int)unknown} is no mode"),
            },
            ["clear_cache"] = !request.HasClearCache || request.ClearCache,
        };
        await _routes.CallAsync("pause_generation", body, context).ConfigureAwait(false);
        return new PauseGenerationResponse();
    }

    public override async Task<ResumeGenerationResponse> ResumeGeneration(ResumeGenerationRequest request, ServerCallContext context)
    {
        await _routes.CallAsync("resume_generation", [], context).ConfigureAwait(false);
        return new ResumeGenerationResponse();
    }

    public override Task<IsPausedResponse> IsPaused(IsPausedRequest request, ServerCallContext context) =>
        Task.FromResult(new IsPausedResponse { Paused = _intake.Serving.Pause is { IsPaused: true } or { IsAsleep: true } });

    public override async Task<SleepResponse> Sleep(SleepRequest request, ServerCallContext context)
    {
        RefuseWithoutSleepMode();
        if (request.Mode is not (PauseMode.Unspecified or PauseMode.Abort))
        {
            throw GrpcStatuses.Refused("mode: only PAUSE_MODE_ABORT is served; pause first, and sleep when nothing runs");
        }

        var body = new JsonObject { ["level"] = request.HasLevel ? request.Level : 1 };
        await _routes.CallAsync("control/sleep", body, context).ConfigureAwait(false);
        return new SleepResponse();
    }

    public override async Task<WakeUpResponse> WakeUp(WakeUpRequest request, ServerCallContext context)
    {
        RefuseWithoutSleepMode();
        var body = new JsonObject();
        if (request.Tags.Count > 0)
        {
            body["tags"] = new JsonArray([.. request.Tags.Select(tag => JsonValue.Create(tag))]);
        }

        await _routes.CallAsync("control/wake_up", body, context).ConfigureAwait(false);
        return new WakeUpResponse();
    }

    public override Task<IsSleepingResponse> IsSleeping(IsSleepingRequest request, ServerCallContext context) =>
        Task.FromResult(new IsSleepingResponse { Sleeping = _intake.Serving.Pause.IsAsleep });

    public override Task<InitWeightTransferEngineResponse> InitWeightTransferEngine(
        InitWeightTransferEngineRequest request,
        ServerCallContext context
    ) => throw NoWeightTransfer();

    public override Task<StartWeightUpdateResponse> StartWeightUpdate(StartWeightUpdateRequest request, ServerCallContext context) =>
        throw NoWeightTransfer();

    public override Task<StartDraftWeightUpdateResponse> StartDraftWeightUpdate(
        StartDraftWeightUpdateRequest request,
        ServerCallContext context
    ) => throw NoWeightTransfer();

    public override Task<UpdateWeightsResponse> UpdateWeights(UpdateWeightsRequest request, ServerCallContext context) =>
        throw NoWeightTransfer();

    public override Task<FinishWeightUpdateResponse> FinishWeightUpdate(FinishWeightUpdateRequest request, ServerCallContext context) =>
        throw NoWeightTransfer();

    public override async Task<UpdateWeightVersionResponse> UpdateWeightVersion(
        UpdateWeightVersionRequest request,
        ServerCallContext context
    )
    {
        if (request.WeightVersion.Length == 0)
        {
            throw GrpcStatuses.Refused("weight_version must not be empty");
        }

        await _routes
            .CallAsync("set_weight_version", new JsonObject { ["weight_version"] = request.WeightVersion }, context)
            .ConfigureAwait(false);
        return new UpdateWeightVersionResponse();
    }

    public override async Task<GetWeightVersionResponse> GetWeightVersion(GetWeightVersionRequest request, ServerCallContext context)
    {
        var answer = await _routes.CallAsync("get_weight_version", [], context).ConfigureAwait(false);
        return new GetWeightVersionResponse { WeightVersion = answer["version"]?.ToString() ?? WeightVersionDefault };
    }

    private void RefuseWithoutSleepMode()
    {
        if (!ServerFacts.HasSleepMode(_intake.Serving))
        {
            throw new RpcException(
                new Status(StatusCode.FailedPrecondition, "sleep mode is not configured; start vLLM with --enable-sleep-mode")
            );
        }
    }

    /// <summary>Trainers bring new weights by the worker's own calls, which are HTTP's.</summary>
    private RpcException NoWeightTransfer() =>
        _intake.Serving.Configuration.Engine.Json["weight_transfer_config"] is null
            ? new RpcException(
                new Status(StatusCode.FailedPrecondition, "weight transfer is not configured; start vLLM with --weight-transfer-config")
            )
            : new RpcException(
                new Status(StatusCode.Unimplemented, "weight transfer is not served here; the worker's calls under /engine change weights")
            );
}
