namespace Dynamo.Vllm.Transports.Adapters;

/// <summary>How S3, or what speaks its protocol, is reached.</summary>
public sealed record S3Options
{
    public string? AccessKeyId { get; init; }

    /// <summary>Never logged.</summary>
    public string? SecretAccessKey { get; init; }

    /// <summary>Never logged.</summary>
    public string? SessionToken { get; init; }

    public string Region { get; init; } = "us-east-1";

    /// <summary>Null: AWS itself. Buckets of another endpoint are named in the path.</summary>
    public Uri? Endpoint { get; init; }
}
