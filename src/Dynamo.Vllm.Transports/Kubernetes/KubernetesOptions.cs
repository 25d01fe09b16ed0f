namespace Dynamo.Vllm.Transports.Kubernetes;

/// <summary>Kubernetes discovery (discovery.md, 5).</summary>
public sealed record KubernetesOptions
{
    public required PodIdentity Pod { get; init; }

    /// <summary>Configuration file to use; null: KUBECONFIG, else the cluster's own, else the user's file.</summary>
    public string? KubeconfigPath { get; init; }

    /// <summary>Joins to look only: the resource of a former life is kept, since it may be that of a worker that lives.</summary>
    public bool IsVisitor { get; init; }

    /// <summary>One request.</summary>
    public TimeSpan CallTimeLimit { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>How long a change is tried again while the API server cannot take it.</summary>
    public TimeSpan RetryTimeLimit { get; init; } = TimeSpan.FromSeconds(60);

    /// <summary>Longest wait between two tries; the first is a twentieth of it.</summary>
    public TimeSpan RetryWaitMax { get; init; } = TimeSpan.FromSeconds(10);
}
