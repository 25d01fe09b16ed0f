namespace Dynamo.Vllm.Worker.Configuration.Options;

/// <summary>Objects of the model card that options fill.</summary>
public enum CardSection
{
    /// <summary><c>router_config</c>.</summary>
    Router,

    /// <summary><c>kv_router_config</c> in it.</summary>
    KvRouter,

    /// <summary><c>load_threshold_config</c> in it.</summary>
    LoadThresholds,
}
