using System.Net;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Worker.StatusPage;
using Dynamo.Vllm.Worker.StatusPort;

namespace Dynamo.Vllm.UnitTests.Worker.StatusPort;

/// <summary>The status page: what is in it, what it may load, and who may drain from it.</summary>
public sealed class StatusPageTests : StatusPortTests
{
    public StatusPageTests()
        : base(new EngineRoutes()) { }

    [Fact]
    public async Task The_page_holds_everything_itself_and_may_load_and_run_nothing()
    {
        using var response = await Http.GetAsync("/status");
        var page = await response.Content.ReadAsStringAsync();

        Assert.Equal("text/html; charset=utf-8", response.Content.Headers.ContentType!.ToString());
        var policy = Assert.Single(response.Headers.GetValues("Content-Security-Policy"));
        Assert.StartsWith("default-src 'none'; style-src 'sha256-", policy, StringComparison.Ordinal);
        Assert.DoesNotContain("unsafe", policy, StringComparison.Ordinal);
        Assert.Equal("no-store", response.Headers.CacheControl!.ToString());
        Assert.DoesNotContain("<script", page, StringComparison.Ordinal);
        Assert.DoesNotContain("style=", page, StringComparison.Ordinal);
        Assert.DoesNotContain("http://", page, StringComparison.Ordinal);
        Assert.DoesNotContain("https://", page, StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_comes_from_outside_is_text_and_never_markup()
    {
        const string evil = "<img src=x onerror=alert(1)>";
        Source.Status = Source.Status with
        {
            Model = evil,
            State = evil,
            EngineProblem = evil,
            Endpoints = [new StatusEndpointBooks(evil, 1, 0, 1, 0, 0, 0, 0)],
            Problems = [new RecentProblem(DateTimeOffset.UtcNow, "Error", 7, evil)],
        };

        var page = await Http.GetStringAsync("/status");

        Assert.DoesNotContain("<img", page, StringComparison.Ordinal);
        Assert.Equal(6, page.Split("&lt;img src=x onerror=alert(1)&gt;").Length - 1);
    }

    [Fact]
    public async Task A_chart_breaks_where_nothing_is_known()
    {
        double?[] tokens = [10, 20, null, 40];
        Source.Status = Source.Status with
        {
            Samples = [.. tokens.Select(value => new StatusSample(DateTimeOffset.UnixEpoch, value, null, null, 3, null, null, null))],
        };

        var page = await Http.GetStringAsync("/status");

        Assert.Contains("<figcaption>Output tokens<b>40/s</b></figcaption>", page, StringComparison.Ordinal);
        Assert.Contains("<figcaption>Prompt tokens<b>\u2013</b></figcaption>", page, StringComparison.Ordinal);
        Assert.Equal(3, page.Split("<polyline").Length - 1); // two of the tokens, one of the open streams
        var json = JsonNode.Parse(await Http.GetStringAsync("/status.json"))!;
        Assert.Equal([10, 20, null, 40], json["samples"]!.AsArray().Select(sample => (double?)sample!["output_tokens"]));
    }

    [Theory]
    [InlineData(true, null, HttpStatusCode.SeeOther, 1)]
    [InlineData(true, "http://localhost", HttpStatusCode.SeeOther, 1)]
    [InlineData(true, "http://elsewhere", HttpStatusCode.Forbidden, 0)]
    [InlineData(true, "null", HttpStatusCode.Forbidden, 0)]
    [InlineData(false, null, HttpStatusCode.Forbidden, 0)]
    public async Task A_drain_is_for_those_who_may_and_not_for_another_site(bool mayDrain, string? origin, HttpStatusCode code, int drains)
    {
        Source.MayDrain = mayDrain;
        using var request = new HttpRequestMessage(HttpMethod.Post, "/status/drain");
        if (origin is not null)
        {
            request.Headers.Add("Origin", origin);
        }

        using var response = await Http.SendAsync(request);

        Assert.Equal((code, drains), (response.StatusCode, Source.Drains));
        Assert.Equal(mayDrain, (await Http.GetStringAsync("/status")).Contains("<button>", StringComparison.Ordinal));
    }
}
