namespace Dynamo.Vllm.Testing;

/// <summary>The real Dynamo frontend, the official worker and vLLM, where they are installed.</summary>
public static class Peers
{
    /// <summary>Set by the environment file of the peers; null means that they are not here.</summary>
    public static string? Folder => Environment.GetEnvironmentVariable("DYNAMO_PEERS_DIR");

    public static string Python => Path.Combine(Required, "venv", "bin", "python");

    public static string TinyModel => Path.Combine(Required, "models", "tiny-model");

    private static string Required =>
        Folder
        ?? throw new InvalidOperationException(
            "the peers are not installed: run tests/peers/setup and source the env.sh that it names (DYNAMO_PEERS_DIR is not set)"
        );

    /// <summary>What every peer on this machine gets: offline, small, on loopback, one file store, the engine on the CPU.</summary>
    public static Dictionary<string, string> Variables(string store) =>
        new(PlaneVariables(store))
        {
            ["VLLM_CPU_KVCACHE_SPACE"] = "1",
            ["OMP_NUM_THREADS"] = "1",
            ["VLLM_CPU_OMP_THREADS_BIND"] = "nobind",
            ["TORCHDYNAMO_DISABLE"] = "1",
        };

    /// <summary>The same without what belongs to an engine on the CPU.</summary>
    public static Dictionary<string, string> PlaneVariables(string store) =>
        new()
        {
            ["DYN_DISCOVERY_BACKEND"] = "file",
            ["DYN_FILE_KV"] = store,
            ["DYN_REQUEST_PLANE"] = "tcp",
            ["DYN_EVENT_PLANE"] = "zmq",
            ["DYN_TCP_RPC_HOST"] = "127.0.0.1",
            ["DYN_TCP_RESPONSE_STREAM_HOST"] = "127.0.0.1",
            ["DYN_EVENT_PLANE_HOST"] = "127.0.0.1",
            ["DYN_SYSTEM_HOST"] = "127.0.0.1",
            ["HF_HUB_OFFLINE"] = "1",
            ["TRANSFORMERS_OFFLINE"] = "1",
            ["VLLM_NO_USAGE_STATS"] = "1",
            ["PATH"] =
                $"{Path.Combine(Required, "bin")}:{Path.Combine(Required, "venv", "bin")}:{Environment.GetEnvironmentVariable("PATH")}",
        };

    /// <summary>Engine flags of both workers, so that their cards are equal.</summary>
    public static IReadOnlyList<string> EngineArguments =>
        [
            "--model",
            TinyModel,
            "--served-model-name",
            "tiny",
            "--max-model-len",
            "1024",
            "--enforce-eager",
            "--block-size",
            "32",
            "--num-gpu-blocks-override",
            "256",
            // In bfloat16, the model's own type, vLLM's attention ends with an illegal
            // instruction on CPUs with AMX: it does not ask the kernel for the tiles.
            "--dtype",
            "float32",
        ];
}
