using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Transports.Nats;
using Dynamo.Vllm.UnitTests.Worker.Hosting;
using Dynamo.Vllm.Worker.Configuration;
using Dynamo.Vllm.Worker.Configuration.Rules;
using Xunit;

namespace Dynamo.Vllm.UnitTests.Worker.Configuration;

public sealed class RuntimeEnvironmentTests
{
    [Fact]
    public void An_empty_environment_gives_the_documented_defaults()
    {
        var values = Parse();

        Assert.Empty(values.Warnings);
        Assert.Equal("/tmp/dynamo_store_kv", values.FileStoreRoot);
        Assert.Equal(PayloadCodec.MessagePack, values.RequestPlaneCodec);
        Assert.Equal(
            (33_554_432, 10_000, 40_000, false),
            (values.Tcp.FrameBytesMax, values.Tcp.RequestsMax, values.Tcp.QueueDepthMax, values.Tcp.RejectsWhenFull)
        );
        Assert.Equal(("nats://localhost:4222", false), (values.Nats.Server, values.NatsServerIsSet));
        Assert.Equal(new NatsLogin(NatsLoginKind.UserAndPassword, "user", "user"), values.Nats.Login);
        Assert.Equal(["http://localhost:2379"], values.Etcd.Endpoints);
        Assert.Equal(new SystemServerEnvironment(), values.SystemServer);
        Assert.Equal(new HealthEnvironment(), values.Health);
        Assert.Equal(new ShutdownEnvironment(), values.Shutdown);
        Assert.Equal(new LoggingEnvironment(), values.Logging);
        Assert.True(values.SelfHostMetadata);
        Assert.Equal("cuda", values.DeviceType);
    }

    [Theory]
    [InlineData("DYN_TCP_RPC_PORT", "x")]
    [InlineData("DYN_TCP_WORKER_POOL_SIZE", "0")]
    [InlineData("ETCD_LEASE_TTL", "-1")]
    [InlineData("DYN_CANARY_WAIT_TIME", "soon")]
    [InlineData("DYN_GRACEFUL_SHUTDOWN_GRACE_PERIOD_SECS", "nan")]
    [InlineData("DYN_REQUEST_PLANE_CODEC", "xml")]
    public void A_wrong_value_is_the_default_with_a_warning_that_names_the_variable(string variable, string value)
    {
        var values = Parse((variable, value));

        Assert.StartsWith($"{variable}='{value}' ", Assert.Single(values.Warnings), StringComparison.Ordinal);
        Assert.Equivalent(Parse().Tcp, values.Tcp);
        Assert.Equivalent(Parse().Etcd, values.Etcd);
        Assert.Equal(Parse().Health, values.Health);
        Assert.Equal(Parse().Shutdown, values.Shutdown);
        Assert.Equal(PayloadCodec.MessagePack, values.RequestPlaneCodec);
    }

    [Theory]
    [InlineData("DYN_SYSTEM_PORT", "http")]
    [InlineData("DYN_SYSTEM_PORT", "65536")]
    [InlineData("DYN_SYSTEM_STARTING_HEALTH_STATUS", "maybe")]
    [InlineData("NATS_SERVER", "localhost:4222")]
    [InlineData("NATS_TLS_INSECURE", "1")]
    [InlineData("DYN_TCP_TLS_CERT_PATH", "/c.pem")]
    [InlineData("DYN_TCP_TLS_CLIENT_KEY_PATH", "/k.pem")]
    [InlineData("DYN_TOPOLOGY_ENABLED", "1")]
    public void A_value_with_which_the_reference_does_not_start_is_an_error(string variable, string value) =>
        Assert.Throws<ConfigurationException>(() => Parse((variable, value)));

    [Theory]
    [InlineData("", -1, false)]
    [InlineData("-1", -1, false)]
    [InlineData("-7", -1, false)]
    [InlineData("0", 0, true)]
    [InlineData("40000", 40000, true)]
    public void The_system_port_switches_its_server(string text, int port, bool enabled)
    {
        var server = Parse(("DYN_SYSTEM_PORT", text)).SystemServer;

        Assert.Equal((port, enabled), (server.Port, server.IsEnabled));
    }

    [Fact]
    public void An_engine_request_limit_sizes_pool_and_queue()
    {
        var tcp = Parse(("DYN_ENGINE_REQUEST_LIMIT", "3")).Tcp;

        Assert.Equal((3, 15, true), (tcp.RequestsMax, tcp.QueueDepthMax, tcp.RejectsWhenFull));
        Assert.Equal(1, Parse(("DYN_ENGINE_REQUEST_LIMIT", "3"), ("DYN_DYNAMO_REQUEST_QUEUE_LIMIT", "0")).Tcp.QueueDepthMax);
    }

    [Fact]
    public void Nats_credentials_are_chosen_in_a_fixed_order_and_never_printed()
    {
        Assert.Equal(
            NatsLoginKind.UserAndPassword,
            Parse(("NATS_AUTH_USERNAME", "u"), ("NATS_AUTH_PASSWORD", "p"), ("NATS_AUTH_TOKEN", "t")).Nats.Login.Kind
        );
        Assert.Equal(
            NatsLoginKind.Token,
            Parse(("NATS_AUTH_USERNAME", "u"), ("NATS_AUTH_TOKEN", "t"), ("NATS_AUTH_NKEY", "n")).Nats.Login.Kind
        );
        Assert.Equal(NatsLoginKind.NKey, Parse(("NATS_AUTH_NKEY", "n"), ("NATS_AUTH_CREDENTIALS_FILE", "f")).Nats.Login.Kind);
        Assert.Equal("CredentialsFile", Parse(("NATS_AUTH_CREDENTIALS_FILE", "secret-path")).Nats.Login.ToString());
    }

    [Fact]
    public void A_negative_grace_period_is_none_at_all() =>
        Assert.Equal(TimeSpan.Zero, Parse(("DYN_GRACEFUL_SHUTDOWN_GRACE_PERIOD_SECS", "-3")).Shutdown.GracePeriod);

    [Theory]
    [InlineData("CUDA_VISIBLE_DEVICES", "", "cpu")]
    [InlineData("CUDA_VISIBLE_DEVICES", " NONE ", "cpu")]
    [InlineData("CUDA_VISIBLE_DEVICES", "0", "cuda")]
    [InlineData("NVIDIA_VISIBLE_DEVICES", "void", "cpu")]
    [InlineData("NVIDIA_VISIBLE_DEVICES", "", "cuda")]
    public void Hidden_devices_make_a_cpu_worker(string variable, string value, string expected) =>
        Assert.Equal(expected, Parse((variable, value)).DeviceType);

    [Fact]
    public void Nats_is_needed_by_either_plane_or_by_a_set_address()
    {
        var tcp = RuntimePlanes.From(CommandLineSample.Parse().Options);

        Assert.False(Parse().NeedsNats(tcp));
        Assert.True(Parse(("NATS_SERVER", "")).NeedsNats(tcp));
        Assert.True(Parse().NeedsNats(tcp with { Event = EventPlane.Nats }));
        Assert.True(Parse().NeedsNats(tcp with { Request = RequestPlane.Nats }));
    }

    [Theory]
    [InlineData("DYN_DISCOVERY_BACKEND", "bogus")]
    [InlineData("DYN_DISCOVERY_BACKEND", "ETCD")]
    [InlineData("DYN_REQUEST_PLANE", "")]
    [InlineData("DYN_RESPONSE_PLANE", "TCP")]
    [InlineData("DYN_EVENT_PLANE", "kafka")]
    public void A_plane_that_does_not_exist_is_an_error_when_the_runtime_is_made(string variable, string value)
    {
        var options = CommandLineSample.Parse(CommandLineSample.Environment(variable, value)).Options;

        var error = Assert.Throws<ConfigurationException>(() => RuntimePlanes.From(options));
        Assert.StartsWith($"{variable}='{value}': ", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Planes_from_the_environment_are_read_as_leniently_as_the_reference_reads_them()
    {
        var environment = new Dictionary<string, string> { ["DYN_REQUEST_PLANE"] = "NATS", ["DYN_EVENT_PLANE"] = " " };

        var planes = RuntimePlanes.From(CommandLineSample.Parse(environment).Options);

        Assert.Equal((RequestPlane.Nats, EventPlane.Zmq), (planes.Request, planes.Event));
    }

    [Fact]
    public void Tls_given_as_flags_wins_over_variables_and_is_there_for_Python_and_its_children()
    {
        var environment = CommandLineSample.Environment("DYN_TCP_TLS_CA_CERT_PATH", "/of-variable.pem");
        var arguments = CommandLineSample.Parse(environment, "--tcp-tls-ca-cert-path", "/ca.pem", "--tcp-tls-handshake-timeout", "7");

        var tls = RuntimeEnvironment.Parse(environment, arguments.Options).Tcp.Tls;
        Assert.Equal(("/ca.pem", TimeSpan.FromSeconds(7)), (tls.AuthorityPath, tls.HandshakeTimeLimit));

        var changes = RuntimeOptionsExport.Changes(arguments.Options, environment);
        Assert.Equal(("/ca.pem", "7"), (changes["DYN_TCP_TLS_CA_CERT_PATH"], changes["DYN_TCP_TLS_HANDSHAKE_TIMEOUT_SECS"]));
    }

    [Fact]
    public void Insecure_variables_are_taken_from_Python_and_its_children_unless_the_option_is_on()
    {
        var environment = new Dictionary<string, string>
        {
            ["DYN_TCP_TLS_INSECURE"] = "0",
            ["NATS_TLS_INSECURE"] = "yes",
            ["NATS_SERVER"] = "tls://127.0.0.1",
        };

        var settings = StageSample.Settings(environment, "--tcp-tls-server-name", "peer");

        Assert.Null(Assert.Contains("DYN_TCP_TLS_INSECURE", settings.ExportedVariables));
        Assert.Equal("1", settings.ExportedVariables["NATS_TLS_INSECURE"]);
        Assert.Equal("peer", settings.ExportedVariables["DYN_TCP_TLS_SERVER_NAME"]);
        Assert.DoesNotContain("DYN_TCP_TLS_INSECURE", settings.Environment.Keys);
        Assert.Equal("1", settings.Environment["NATS_TLS_INSECURE"]);
    }

    [Fact]
    public void An_empty_flag_leaves_the_word_to_the_variable_as_in_the_reference()
    {
        var environment = CommandLineSample.Environment("DYN_TCP_TLS_CA_CERT_PATH", "/of-variable.pem");
        var options = CommandLineSample.Parse(environment, "--tcp-tls-ca-cert-path=").Options;

        Assert.Equal("/of-variable.pem", RuntimeEnvironment.Parse(environment, options).Tcp.Tls.AuthorityPath);
        Assert.DoesNotContain("DYN_TCP_TLS_CA_CERT_PATH", RuntimeOptionsExport.Changes(options, environment).Keys);
    }

    [Theory]
    [InlineData("0")]
    [InlineData("-5")]
    [InlineData("9223372036854775807")]
    public void A_handshake_limit_out_of_bounds_does_no_harm_before_it_is_refused(string seconds) =>
        Assert.InRange(
            Parse(("DYN_TCP_TLS_HANDSHAKE_TIMEOUT_SECS", seconds)).Tcp.Tls.HandshakeTimeLimit,
            TimeSpan.FromSeconds(1),
            TimeSpan.FromDays(3660)
        );

    [Theory]
    [InlineData("chat", EndpointTypes.Chat)]
    [InlineData(" Completions , chat,", EndpointTypes.Chat | EndpointTypes.Completions)]
    [InlineData("none", EndpointTypes.None)]
    public void Endpoint_types_are_read_without_regard_to_case_and_blanks(string text, EndpointTypes expected) =>
        Assert.Equal(expected, EndpointTypeList.Parse(text));

    [Theory]
    [InlineData("nope")]
    [InlineData("none,chat")]
    [InlineData(" , ")]
    public void Endpoint_types_that_make_no_sense_are_refused(string text) =>
        Assert.Throws<ConfigurationException>(() => EndpointTypeList.Parse(text));

    private static RuntimeEnvironment Parse(params (string Variable, string Value)[] variables)
    {
        var environment = variables.ToDictionary(pair => pair.Variable, pair => pair.Value);
        return RuntimeEnvironment.Parse(environment, CommandLineSample.Parse(environment).Options);
    }
}
