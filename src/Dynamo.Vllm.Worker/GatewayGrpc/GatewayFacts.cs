using Dynamo.Vllm.Worker.GatewayGrpc.Contract;
using Dynamo.Vllm.Worker.GrpcRequests;

namespace Dynamo.Vllm.Worker.GatewayGrpc;

/// <summary>What callers of the contract are told of engine and model.</summary>
internal static class GatewayFacts
{
    public static GetModelInfoResponse Model(GrpcServing serving)
    {
        var (engine, model) = (serving.Engine.Description, serving.Engine.Description.ModelFacts);
        return new GetModelInfoResponse
        {
            ModelPath = engine.Model,
            IsGeneration = true,
            MaxContextLength = (uint)engine.MaxModelLength,
            VocabSize = (uint)(engine.VocabularySize ?? 0),
            ServedModelName = serving.Configuration.ServedModelName,
            TokenizerPath = model.Tokenizer,
            ModelType = model.Type,
            Architectures = { model.Architectures },
            EosTokenIds = { model.EosTokenIds },
            PadTokenId = model.PadTokenId ?? 0,
            BosTokenId = model.BosTokenId ?? 0,
            MaxReqInputLen = engine.MaxModelLength,
            DefaultSamplingParamsJson = model.SamplingDefaultsJson ?? "",
        };
    }

    /// <summary>Nothing of media and of how their tensors could come: they are not taken.</summary>
    public static GetServerInfoResponse Server(GrpcServing serving)
    {
        var (engine, arguments) = (serving.Engine.Description, serving.Configuration.Engine);
        return new GetServerInfoResponse
        {
            ActiveRequests = (uint)serving.Generate.Ledger.Open,
            IsPaused = serving.Pause is { IsPaused: true } or { IsAsleep: true },
            ServerType = "vllm-grpc",
            KvConnector = engine.KvConnector ?? "",
            KvRole = arguments.KvTransferConfig?["kv_role"]?.ToString() ?? "",
            KvEngineId = engine.KvEngineId ?? "",
            DataParallelSize = engine.DataParallelSize,
            KvCacheDtype = engine.ModelFacts.CacheDataType,
            BlockSize = engine.BlockSize,
            ModelDtype = engine.ModelFacts.DataType,
            MaxNumSeqs = engine.MaxNumSeqs,
            EngineReasoningParser = engine.ReasoningParser,
            ConstrainedDecodingStart = engine is { ReasoningParser.Length: > 0, EnableInReasoning: false }
                ? "after_reasoning"
                : "first_token",
        };
    }
}
