using System.Text;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Worker.StatusPort;

namespace Dynamo.Vllm.UnitTests.Worker.StatusPort;

/// <summary>Status codes and bodies of the official worker's status server.</summary>
public sealed class StatusEndpointsTests : StatusPortTests
{
    public StatusEndpointsTests()
        : base(Routes()) { }

    [Theory]
    [InlineData("POST", "/health")]
    [InlineData("PUT", "/live")]
    [InlineData("DELETE", "/metrics")]
    [InlineData("POST", "/metadata")]
    [InlineData("OPTIONS", "/health")]
    [InlineData("POST", "/v1/metadata/a/b/c/d/e/f")]
    public async Task What_can_only_be_read_is_answered_with_405_and_the_methods(string method, string path)
    {
        using var response = await Http.SendAsync(new HttpRequestMessage(new HttpMethod(method), path));
        Assert.Equal(405, (int)response.StatusCode);
        Assert.Equal(["GET", "HEAD"], response.Content.Headers.Allow);
        Assert.Equal("", await response.Content.ReadAsStringAsync());
    }

    [Fact]
    public async Task Probes_say_what_the_state_is()
    {
        Assert.Equal(200, await StatusAsync("/health"));
        Assert.Equal(200, await StatusAsync("/live"));

        Health.Suspicion = "the engine is stopped";
        Assert.Equal(503, await StatusAsync("/health"));
        Assert.Equal(200, await StatusAsync("/live"));

        Health.Fault = "the engine has ended";
        Assert.Equal(503, await StatusAsync("/live"));
    }

    [Fact]
    public async Task A_hosted_file_is_sent_and_one_that_went_away_is_a_500()
    {
        using var folder = new TemporaryFolder();
        var path = Path.Combine(folder.Path, "config.json");
        await File.WriteAllTextAsync(path, "{}");
        Files.Add("a/b/c/d/e/config.json", path);

        Assert.Equal("{}", await Http.GetStringAsync("/v1/metadata/a/b/c/d/e/config.json"));
        File.Delete(path);
        Assert.Equal(500, await StatusAsync("/v1/metadata/a/b/c/d/e/config.json"));
    }

    private async Task<int> StatusAsync(string path)
    {
        using var response = await Http.GetAsync(path);
        return (int)response.StatusCode;
    }

    [Theory]
    [InlineData("GET", "/engine/", "Route not found")]
    [InlineData("GET", "/engine", "Route not found")]
    [InlineData("POST", "/nowhere", "Route not found")]
    [InlineData("GET", "/v1/metadata/a", "Route not found")]
    [InlineData("GET", "/v1/metadata/a/b/c/d/e/f", "Not found")]
    [InlineData("POST", "/engine/nowhere", """{"error":"Route not found","message":"Route /engine/nowhere not found"}""")]
    public async Task What_is_no_route_is_a_404_for_every_method(string method, string path, string text)
    {
        using var response = await Http.SendAsync(new HttpRequestMessage(new HttpMethod(method), path));
        Assert.Equal((404, text), ((int)response.StatusCode, await response.Content.ReadAsStringAsync()));
    }

    [Theory]
    [InlineData("echo", "[1]", 200, """{"body":[1]}""")]
    [InlineData("echo", "", 200, """{"body":{}}""")]
    [InlineData("echo", "\"it's \u00e9\"", 200, "{\"body\":\"it's \u00e9\"}")]
    [InlineData(
        "broken",
        "{}",
        500,
        """{"error":"Handler error","message":"Python callback failed: InvalidOperationException: it's broken"}"""
    )]
    public async Task Control_calls_answer_with_json_whatever_happens(string route, string body, int status, string text)
    {
        using var response = await Http.PostAsync($"/engine/{route}", new StringContent(body, Encoding.UTF8));
        Assert.Equal((status, text), ((int)response.StatusCode, await response.Content.ReadAsStringAsync()));
    }

    [Theory]
    [InlineData("{")]
    [InlineData("{\"a\":\"\\ud800\"}")]
    [InlineData("[{\"\\udc00\":1}]")]
    [InlineData("{\"a\":[1e400]}")]
    [InlineData("-1e999")]
    public async Task A_body_that_is_no_json_is_a_400(string body)
    {
        using var response = await Http.PostAsync("/engine/echo", new StringContent(body, Encoding.UTF8));
        Assert.Equal(400, (int)response.StatusCode);
        Assert.Equal("Invalid JSON", JsonNode.Parse(await response.Content.ReadAsStringAsync())!["error"]!.GetValue<string>());
    }

    private static EngineRoutes Routes()
    {
        var routes = new EngineRoutes();
        routes.Add("echo", (body, _) => Task.FromResult(new JsonObject { ["body"] = body?.DeepClone() }));
        routes.Add("broken", (_, _) => throw new InvalidOperationException("it's broken"));
        return routes;
    }
}
