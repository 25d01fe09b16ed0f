namespace Dynamo.Vllm.Testing;

/// <summary>Makes an engine publish its cache events.</summary>
public static class KvEventFlags
{
    /// <summary>On a port that is free now.</summary>
    public static string[] OnFreePort() => On(FreePorts.Next());

    public static string[] On(int port) =>
        ["--kv-events-config", $$"""{"enable_kv_cache_events":true,"publisher":"zmq","endpoint":"tcp://*:{{port}}","topic":""}"""];
}
