using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Testing.Servers;
using Dynamo.Vllm.Transports.Kubernetes;

namespace Dynamo.Vllm.UnitTests.Transports;

public sealed class PodIdentityTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Mounted_files_win_over_variables_and_are_trimmed()
    {
        _folder.Write("pod_name", " worker-0\n");
        _folder.Write("pod_uid", "uid-1\n");
        var pod = Read(("POD_NAME", "other"), ("POD_UID", "other"), ("POD_NAMESPACE", "team"));
        Assert.Equal(new PodIdentity("worker-0", "uid-1", "team", null, false), pod);
        Assert.Equal("worker-0", pod.ResourceName);
    }

    [Fact]
    public void The_namespace_is_the_only_part_with_a_default()
    {
        var pod = Read(("POD_NAME", "worker-0"), ("POD_UID", "u"));
        Assert.Equal("default", pod.Namespace);
        Assert.True(pod.NamespaceIsDefault);
    }

    [Theory]
    [InlineData("main", "worker-0")]
    [InlineData("engine-0", "worker-0-engine-0")]
    public void A_container_has_a_resource_of_its_own_unless_it_is_the_main_one(string container, string resource)
    {
        var pod = Read(("POD_NAME", "worker-0"), ("POD_UID", "u"), ("DYN_KUBE_DISCOVERY_MODE", "container"), ("CONTAINER_NAME", container));
        Assert.True(pod.IsContainerMode);
        Assert.Equal(resource, pod.ResourceName);
    }

    [Fact]
    public void Everything_that_is_missing_is_named_at_once()
    {
        var exception = Assert.Throws<InvalidOperationException>(() => Read(("DYN_KUBE_DISCOVERY_MODE", "container"), ("POD_NAME", "")));
        Assert.StartsWith("kubernetes discovery needs POD_NAME, POD_UID, CONTAINER_NAME:", exception.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void An_unknown_mode_is_refused() =>
        Assert.Contains(
            "expected pod or container",
            Assert.Throws<InvalidOperationException>(() => Read(("DYN_KUBE_DISCOVERY_MODE", "node"))).Message,
            StringComparison.Ordinal
        );

    private PodIdentity Read(params (string Name, string Value)[] environment) =>
        PodIdentity.Read(environment.ToDictionary(pair => pair.Name, pair => pair.Value), _folder.Path);
}
