using System.Net;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Testing.Logs;
using Dynamo.Vllm.Worker.Configuration;
using Dynamo.Vllm.Worker.StatusPort;
using Microsoft.Extensions.Logging.Abstractions;

namespace Dynamo.Vllm.UnitTests.Worker.StatusPort;

/// <summary><c>--system-token-file</c>: what it guards, what it leaves open, and when a new token counts.</summary>
public sealed class SystemTokenTests : StatusPortTests
{
    private const string Token = "correct-horse-battery";

    private static readonly TemporaryFolder Folder = new();

    public SystemTokenTests()
        : base(Routes(), new StatusEndpointOptions { TokenFile = Write(Token + "\n"), HasAdapters = true }) { }

    [Theory]
    [InlineData("GET", "/health", 200)]
    [InlineData("GET", "/live", 200)]
    [InlineData("GET", "/metrics", 200)]
    [InlineData("GET", "/metadata", 404)]
    [InlineData("GET", "/nowhere", 404)]
    [InlineData("POST", "/engine/echo", 401)]
    [InlineData("POST", "/engine/nowhere", 401)]
    [InlineData("GET", "/v1/loras", 401)]
    [InlineData("POST", "/v1/loras", 401)]
    [InlineData("DELETE", "/v1/loras/one", 401)]
    [InlineData("GET", "/status", 401)]
    [InlineData("GET", "/status.json", 401)]
    [InlineData("POST", "/status/drain", 401)]
    public async Task Control_and_status_need_it_probes_and_scrapes_do_not(string method, string path, int code)
    {
        using var response = await Http.SendAsync(new HttpRequestMessage(new HttpMethod(method), path));
        Assert.Equal(code, (int)response.StatusCode);
        Assert.Equal(code == 401, response.Headers.WwwAuthenticate.Count > 0);
        Assert.Equal(0, Source.Drains);
    }

    [Fact]
    public async Task Bearer_and_a_browsers_password_are_let_in_and_a_renewed_token_counts_at_once()
    {
        Assert.Equal(HttpStatusCode.OK, await CallAsync("Bearer", Token));
        Assert.Equal(HttpStatusCode.OK, await CallAsync("Basic", Convert.ToBase64String(Encoding.UTF8.GetBytes("anybody:" + Token))));
        Assert.Equal(HttpStatusCode.Unauthorized, await CallAsync("Bearer", Token + "x"));
        Assert.Equal(HttpStatusCode.Unauthorized, await CallAsync("Bearer", Token[..^1]));
        Assert.Equal(HttpStatusCode.Unauthorized, await CallAsync("Basic", Token));
        Assert.Equal(HttpStatusCode.Unauthorized, await CallAsync("Basic", "%%"));
        Assert.Equal(HttpStatusCode.Unauthorized, await CallAsync("Digest", Token));

        Write("another-token-of-today");
        Assert.Equal(HttpStatusCode.Unauthorized, await CallAsync("Bearer", Token));
        Assert.Equal(HttpStatusCode.OK, await CallAsync("Bearer", "another-token-of-today"));
        Write("");
        Assert.Equal(HttpStatusCode.Unauthorized, await CallAsync("Bearer", "another-token-of-today"));
        Assert.Equal(HttpStatusCode.Unauthorized, await CallAsync("Bearer", ""));
        Write(Token);
    }

    [Fact]
    public void A_file_without_a_token_ends_the_start()
    {
        var missing = Path.Combine(Folder.Path, "missing");
        var tooShort = Folder.Write("short", "fifteen-letters\n");

        var one = Assert.Throws<ConfigurationException>(() => new SystemToken(missing, NullLogger.Instance));
        var other = Assert.Throws<ConfigurationException>(() => new SystemToken(tooShort, NullLogger.Instance));

        Assert.StartsWith($"--system-token-file {missing}: Could not find file", one.Message, StringComparison.Ordinal);
        Assert.Equal($"--system-token-file {tooShort}: a token has 16 characters at least, this one has 15", other.Message);
    }

    [Fact]
    public void A_file_that_has_become_unusable_is_said_once_however_many_are_refused_and_no_more_than_a_token_is_read()
    {
        using var log = new LogCapture();
        var path = Folder.Write("renewed", "\uFEFF" + Token);
        var token = new SystemToken(path, log.For<SystemToken>());
        Assert.True(token.Admits("Bearer " + Token));
        Folder.Write("renewed", new string('x', 5000));
        Assert.All(Enumerable.Range(0, 9), _ => Assert.False(token.Admits("Bearer " + new string('x', 5000))));
        Assert.EndsWith("it holds more than 4096 bytes", Assert.Single(log.Lines).Text, StringComparison.Ordinal);

        Folder.Write("renewed", Token);
        Assert.True(token.Admits("Bearer " + Token));
        File.Delete(path);
        Assert.All(Enumerable.Range(0, 9), _ => Assert.False(token.Admits("Bearer " + Token)));
        Assert.Equal(2, log.Lines.Count);
    }

    private static string Write(string token) => Folder.Write("token", token);

    private static EngineRoutes Routes()
    {
        var routes = new EngineRoutes();
        routes.Add("echo", (_, _) => Task.FromResult(new JsonObject()));
        return routes;
    }

    private async Task<HttpStatusCode> CallAsync(string scheme, string value)
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, "/engine/echo");
        request.Headers.Authorization = new AuthenticationHeaderValue(scheme, value);
        using var response = await Http.SendAsync(request);
        return response.StatusCode;
    }
}
