using Dynamo.Vllm.Core.KvEvents;
using Dynamo.Vllm.Worker.Configuration.Options;
using Dynamo.Vllm.Worker.GrpcRequests;
using Dynamo.Vllm.Worker.NativeGrpc.Contract;

namespace Dynamo.Vllm.Worker.NativeGrpc;

/// <summary>What callers of the contract are told of engine and model. The same for as long as the worker serves.</summary>
internal static class ServerFacts
{
    /// <summary>Which the sidecar insists on.</summary>
    private const string ApiVersion = "vllm";

    public static ServerInfo Server(GrpcServing serving)
    {
        var (engine, arguments) = (serving.Engine.Description, serving.Configuration.Engine);
        return new ServerInfo
        {
            EngineVersion = engine.EngineVersion,
            ApiVersion = ApiVersion,
            InstanceId = serving.Registration.Instance.Hex,
            Parallelism = new ParallelismInfo
            {
                TensorParallelSize = (uint)arguments.TensorParallelSize,
                PipelineParallelSize = (uint)arguments.PipelineParallelSize,
                DataParallelSize = (uint)Math.Max(arguments.DataParallelSize, engine.DataParallelSize),
                DataParallelRank = (uint)engine.DataParallelStart,
                DecodeContextParallelSize = (uint)arguments.DecodeContextParallelSize,
                WorldSize = (ulong)engine.WorldSize,
                DataParallelSizeLocal = (uint)engine.DataParallelSize,
            },
            MaxModelLen = (uint)engine.MaxModelLength,
            KvBlockSize = (uint)engine.BlockSize,
            TotalKvBlocks = (ulong)Math.Max(0, engine.NumGpuBlocks),
            MaxRunningRequests = (ulong)engine.MaxNumSeqs,
            MaxBatchedTokens = (ulong)engine.MaxNumBatchedTokens,
            MaxLoras = serving.Adapters is null ? 0 : (uint)(engine.MaxLoras ?? 0),
            RlCapabilities = new RlCapabilities { SleepModeEnabled = HasSleepMode(serving) },
            EffectiveAttentionBlockSize = (ulong)engine.KvEventBlockSize,
        };
    }

    public static ModelInfo Model(GrpcServing serving)
    {
        var configuration = serving.Configuration;
        var info = new ModelInfo
        {
            ModelId = configuration.Model,
            ServedModelName = configuration.ServedModelName,
            SupportsTextInput = true,
            SupportsTokenIdsInput = true,
            SupportsLora = serving.Adapters is not null,
            ReasoningParser = serving.Engine.Description.ReasoningParser,
            ToolCallParser = configuration.Options.Get(RuntimeOptions.DynToolCallParser) ?? "",
        };
        info.ServedModelAliases.AddRange(configuration.ServedModelAliases);
        return info;
    }

    /// <summary>None unless the engine publishes; who connects hears it beside the worker's own relay.</summary>
    public static GetKvEventSourcesResponse EventSources(GrpcServing serving)
    {
        var engine = serving.Engine.Description;
        var response = new GetKvEventSourcesResponse();
        if (engine.KvEventsEndpoint is { } endpoint)
        {
            response.Sources.AddRange(
                Enumerable
                    .Range(engine.DataParallelStart, engine.DataParallelSize)
                    .Select(rank => new KvEventSource
                    {
                        Transport = "zmq",
                        Endpoint = EngineEventEndpoint.BoundBy(endpoint, rank),
                        Topic = engine.KvEventsTopic,
                        DataParallelRank = (uint)rank,
                        Encoding = "msgpack",
                        SchemaVersion = 1,
                    })
            );
        }

        return response;
    }

    public static bool HasSleepMode(GrpcServing serving) => serving.Configuration.Engine.IsOn("enable_sleep_mode");
}
