using System.Text.Json.Serialization;

namespace Dynamo.Vllm.Worker.Doctor;

/// <summary>What a finding means for a worker on this machine.</summary>
internal enum Severity
{
    [JsonStringEnumMemberName("ok")]
    Ok,

    /// <summary>It will serve; something may be slow, short or forgotten.</summary>
    [JsonStringEnumMemberName("warning")]
    Warning,

    /// <summary>It will not start, not serve, or not be found.</summary>
    [JsonStringEnumMemberName("problem")]
    Problem,
}
