namespace Dynamo.Vllm.Transports.Nats;

/// <summary>How to log in to NATS.</summary>
public enum NatsLoginKind
{
    UserAndPassword,
    Token,

    /// <summary>A seed (<c>SU...</c>), which signs the server's challenge.</summary>
    NKey,

    /// <summary>Path of a file with a token and a seed, as <c>nsc</c> writes it.</summary>
    CredentialsFile,
}

/// <summary>One way to log in.</summary>
/// <param name="Value">User name, token, seed or path, by <paramref name="Kind"/>.</param>
/// <param name="Password">Only with a user name.</param>
public sealed record NatsLogin(NatsLoginKind Kind, string Value, string? Password = null)
{
    /// <summary>What the reference sends where nothing is configured; servers without accounts ignore it.</summary>
    public static NatsLogin Default { get; } = new(NatsLoginKind.UserAndPassword, "user", "user");

    // Records print their members, and this one may end up in a log line.
    public override string ToString() => Kind.ToString();
}
