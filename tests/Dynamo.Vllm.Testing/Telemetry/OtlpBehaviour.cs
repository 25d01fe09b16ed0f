namespace Dynamo.Vllm.Testing.Telemetry;

/// <summary>What a collector does with an export.</summary>
public enum OtlpBehaviour
{
    Accepts,
    Refuses,
    RejectsPoints,

    /// <summary>Takes the request and never answers.</summary>
    Hangs,

    /// <summary>Answers with more than an exporter may read.</summary>
    Floods,

    /// <summary>Sends the caller elsewhere.</summary>
    Redirects,
}
