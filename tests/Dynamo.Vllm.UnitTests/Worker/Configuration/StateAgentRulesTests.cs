using Dynamo.Vllm.Worker.Configuration;

namespace Dynamo.Vllm.UnitTests.Worker.Configuration;

/// <summary>The sentences are the reference's.</summary>
public sealed class StateAgentRulesTests
{
    private const string Owner =
        "0123456789abcdef0123456789abcdef:fedcba9876543210fedcba9876543210/0011223344556677/00112233445566778899aabbccddeeff";

    private static readonly string[] Events = ["--kv-events-config", """{"enable_kv_cache_events":true,"publisher":"zmq"}"""];

    [Fact]
    public void An_agent_is_taken_with_its_owners()
    {
        var resolved = Resolve($$$"""{"raw_advertise_host":"10.0.0.5","cache_owner_ids":{"0":"{{{Owner}}}"}}""", Events);
        Assert.Equal("10.0.0.5", resolved.StateAgent!.Host);
        Assert.Equal(0, Assert.Single(resolved.StateAgent.Owners).Key);
        Assert.Empty(resolved.UnsupportedFeatures);
        Assert.Null(Resolve("null", Events).StateAgent);
    }

    [Theory]
    [InlineData("5", "dynamo_state_agent must be an object")]
    [InlineData("{}", "dynamo_state_agent.raw_advertise_host is required")]
    [InlineData("""{"raw_advertise_host":"localhost"}""", "raw_advertise_host must be a non-loopback connectable host")]
    [InlineData("""{"raw_advertise_host":"127.0.0.1"}""", "raw_advertise_host must be a non-loopback connectable host")]
    [InlineData("""{"raw_advertise_host":"tcp://a"}""", "raw_advertise_host must not include a scheme, port, or path")]
    [InlineData("""{"raw_advertise_host":"[::1"}""", "raw_advertise_host has mismatched IPv6 brackets")]
    [InlineData("""{"raw_advertise_host":"[a]"}""", "bracketed raw_advertise_host must be an IPv6 literal")]
    [InlineData("""{"raw_advertise_host":"[10.0.0.1]"}""", "only IPv6 literals may use brackets")]
    [InlineData("""{"raw_advertise_host":"a:5"}""", "raw_advertise_host must be a hostname or bracketed IPv6 literal without a port")]
    [InlineData("""{"raw_advertise_host":"a"}""", "dynamo_state_agent.cache_owner_ids must be a nonempty object")]
    [InlineData("""{"raw_advertise_host":"a","cache_owner_ids":{"x":""}}""", "CacheOwner mapping keys must be global DP ranks")]
    [InlineData("""{"raw_advertise_host":"a","cache_owner_ids":{"01":""}}""", "non-canonical global DP rank key: '01'")]
    [InlineData("""{"raw_advertise_host":"a","cache_owner_ids":{"1":"b"}}""", "invalid canonical CacheOwnerId for global rank 1")]
    [InlineData(
        $$$"""{"raw_advertise_host":"a","cache_owner_ids":{"0":"{{{Owner}}}","1":"{{{Owner}}}"}}""",
        "CacheOwnerId values must be unique across managed global ranks"
    )]
    public void What_does_not_serve_is_refused(string section, string expected) =>
        Assert.Equal(expected, Assert.Throws<ConfigurationException>(() => Resolve(section, Events)).Message);

    [Fact]
    public void Roles_without_events_are_refused()
    {
        const string section = $$$"""{"raw_advertise_host":"a","cache_owner_ids":{"0":"{{{Owner}}}"}}""";
        Assert.Equal(
            "dynamo_state_agent is unsupported for embedding workers",
            Assert.Throws<ConfigurationException>(() => Resolve(section, "--embedding-worker")).Message
        );
        Assert.Equal(
            "dynamo_state_agent requires vLLM KV event emission",
            Assert.Throws<ConfigurationException>(() => Resolve(section)).Message
        );
        Assert.Equal(
            "dynamo_state_agent requires prefix caching",
            Assert.Throws<ConfigurationException>(() => Resolve(section, [.. Events, "--no-enable-prefix-caching"])).Message
        );
    }

    private static WorkerConfiguration Resolve(string section, params string[] flags) =>
        ResolverSample.Resolve([
            "--kv-transfer-config",
            $$$"""{"kv_connector":"NixlConnector","kv_role":"kv_both","kv_connector_extra_config":{"dynamo_state_agent":{{{section}}}}}""",
            .. flags,
        ]);
}
