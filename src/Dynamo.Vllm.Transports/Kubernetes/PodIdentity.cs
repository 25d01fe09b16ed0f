namespace Dynamo.Vllm.Transports.Kubernetes;

/// <summary>The pod that this process runs in, and the name of its resource (discovery.md, 5).</summary>
public sealed record PodIdentity(string PodName, string PodUid, string Namespace, string? Container, bool NamespaceIsDefault)
{
    /// <summary>Where the Downward API is mounted.</summary>
    public const string PodInfoFolder = "/etc/podinfo";

    /// <summary>The container whose resource has the name of the pod alone.</summary>
    private const string MainContainer = "main";

    /// <summary>Each container has a resource of its own.</summary>
    public bool IsContainerMode => Container is not null;

    public string ResourceName => ResourceNameOf(PodName, Container);

    public static string ResourceNameOf(string pod, string? container) => container is null or MainContainer ? pod : $"{pod}-{container}";

    /// <summary>Reads the mounted files first and the variables where a file is missing or empty.</summary>
    /// <exception cref="InvalidOperationException">The pod is not known; names every variable that is missing.</exception>
    public static PodIdentity Read(IReadOnlyDictionary<string, string> environment, string podInfoFolder = PodInfoFolder)
    {
        string? Variable(string name) => environment.TryGetValue(name, out var value) && value.Length > 0 ? value : null;
        string? File(string name, string variable) => ReadFile(Path.Combine(podInfoFolder, name)) ?? Variable(variable);

        var podName = File("pod_name", "POD_NAME");
        var podUid = File("pod_uid", "POD_UID");
        var podNamespace = File("pod_namespace", "POD_NAMESPACE");
        var mode = Variable("DYN_KUBE_DISCOVERY_MODE") ?? "pod";
        if (mode is not ("pod" or "container"))
        {
            throw new InvalidOperationException($"DYN_KUBE_DISCOVERY_MODE={mode}: expected pod or container");
        }

        var container = mode == "container" ? Variable("CONTAINER_NAME") : null;
        var missing = new List<string>();
        AddIf(podName is null, "POD_NAME");
        AddIf(podUid is null, "POD_UID");
        AddIf(mode == "container" && container is null, "CONTAINER_NAME");
        return missing.Count == 0
            ? new PodIdentity(podName!, podUid!, podNamespace ?? "default", container, podNamespace is null)
            : throw new InvalidOperationException(
                $"kubernetes discovery needs {string.Join(", ", missing)}: set them from the Downward API, or mount it at {podInfoFolder}"
            );

        void AddIf(bool isMissing, string name)
        {
            if (isMissing)
            {
                missing.Add(name);
            }
        }
    }

    private static string? ReadFile(string path)
    {
        try
        {
            var text = File.ReadAllText(path).Trim();
            return text.Length > 0 ? text : null;
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            return null; // not mounted
        }
    }
}
