namespace Dynamo.Vllm.Worker.Configuration.Rules;

/// <summary>What rules may ask beside the options.</summary>
/// <param name="Environment">Variables of this process.</param>
/// <param name="Nixl">What this host is called for KV transfer.</param>
/// <param name="FileExists">Whether there is a file of that path.</param>
internal sealed record HostFacts(IReadOnlyDictionary<string, string> Environment, INixlHostProbe Nixl, Func<string, bool> FileExists);
