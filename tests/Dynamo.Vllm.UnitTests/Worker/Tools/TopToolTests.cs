using System.Net;
using Dynamo.Vllm.Worker.Tools;
using Microsoft.Extensions.Time.Testing;

namespace Dynamo.Vllm.UnitTests.Worker.Tools;

/// <summary><c>top</c> on pages of the test, with its clock.</summary>
public sealed class TopToolTests
{
    private readonly FakeTimeProvider _time = new(DateTimeOffset.UnixEpoch);

    [Fact]
    public async Task Rates_are_between_two_looks_and_what_cannot_be_seen_has_a_line()
    {
        using var pages = new Pages(
            ("one:1", [Page("serving", running: 3, tokens: 100), Page("serving", running: 2, tokens: 300)]),
            ("two:2", [Page(null, running: 1, tokens: 7), Page(null, running: 1, tokens: 8)]),
            ("gone:3", [])
        );
        var text = await RunAsync(pages, ["one:1", "http://two:2/status", "gone:3"], expectedCode: 0);

        Assert.Equal(
            """
            WORKER  STATE          RUN   WAIT     OUT/s      IN/s   REQ/s  KV%  TTFT95
            one:1   serving          2      0     100.0         -       -   50       -
            two:2   -                1      0       0.5         -       -   50       -
            gone:3  answered 404
            all     1 serving        3      0     100.5         -       -    -       -
            """.ReplaceLineEndings("\n"),
            string.Join('\n', text.Split('\n').Skip(1)).Trim()
        );
    }

    [Fact]
    public async Task Where_no_worker_is_seen_the_code_says_so()
    {
        using var nobody = new Pages(("gone:3", []));
        Assert.Contains("gone:3  answered 404", await RunAsync(nobody, ["gone:3"], expectedCode: 1), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("9090", "http://127.0.0.1:9090/metrics")]
    [InlineData("host:1", "http://host:1/metrics")]
    [InlineData("https://host:1/status", "https://host:1/metrics")]
    [InlineData("[::1]:9090", "http://[::1]:9090/metrics")]
    public void An_address_is_a_port_a_host_or_a_url(string address, string page)
    {
        Assert.Equal(new Uri(page), Assert.Single(TopOptions.Of([address], null, 1, 0).Pages));
        Assert.Equal(new Uri(page), Assert.Single(TopOptions.Of([], address, 1, 0).Pages));
    }

    [Theory]
    [InlineData("", 1.0, 0, "no worker to look at: give the address of a status port (HOST:PORT), or set DYN_SYSTEM_PORT")]
    [InlineData("ftp://host", 1.0, 0, "'ftp://host' is no address of a status port")]
    [InlineData("http://me:secret@host:1", 1.0, 0, "is no address of a status port")]
    [InlineData("host:1", 0.1, 0, "--interval must be between 0.2 and 3600 seconds, got 0.1")]
    [InlineData("host:1", double.NaN, 0, "--interval must be between 0.2 and 3600 seconds, got NaN")]
    [InlineData("host:1", 1.0, -1, "--count must be at least 0, got -1")]
    public void What_cannot_be_used_is_named(string address, double seconds, int count, string problem)
    {
        string[] addresses = address.Length > 0 ? [address] : [];
        var exception = Assert.Throws<FormatException>(() => TopOptions.Of(addresses, null, seconds, count));
        Assert.Contains(problem, exception.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void There_is_a_limit_of_addresses() =>
        Assert.Equal(
            "129 addresses, above the limit 128",
            Assert.Throws<FormatException>(() => TopOptions.Of([.. Enumerable.Repeat("a:1", 129)], null, 1, 0)).Message
        );

    private static string Page(string? state, int running, int tokens) =>
        $"""
            vllm:num_requests_running {running}
            vllm:num_requests_waiting 0
            vllm:kv_cache_usage_perc 0.5
            vllm:generation_tokens_total {tokens}
            {(state is null ? "" : $"dynamo_vllm_worker_state{{state=\"{state}\"}} 1\ndynamo_vllm_worker_state{{state=\"stopping\"}} 0")}

            """.ReplaceLineEndings("\n");

    private async Task<string> RunAsync(Pages pages, string[] addresses, int expectedCode)
    {
        using var http = new HttpClient(pages, disposeHandler: false);
        using var output = new StringWriter();
        var tool = new TopTool(TopOptions.Of(addresses, null, 2, 1), http, output, redraws: false, _time);
        var run = tool.RunAsync(CancellationToken.None); // pages answer at once, so it waits for the second look
        _time.Advance(TimeSpan.FromSeconds(2));
        Assert.Equal(expectedCode, await run.WaitAsync(TimeSpan.FromSeconds(30)));
        return output.ToString();
    }

    /// <summary>Answers each host with its next page, and with 404 where there is none.</summary>
    private sealed class Pages(params (string Host, string[] Texts)[] hosts) : HttpMessageHandler
    {
        private readonly Dictionary<string, int> _asked = [];

        protected override Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken cancellationToken)
        {
            var host = request.RequestUri!.Authority;
            var number = _asked[host] = _asked.GetValueOrDefault(host) + 1;
            var texts = hosts.Single(each => each.Host == host).Texts;
            return Task.FromResult(
                number <= texts.Length
                    ? new HttpResponseMessage(HttpStatusCode.OK) { Content = new StringContent(texts[number - 1]) }
                    : new HttpResponseMessage(HttpStatusCode.NotFound)
            );
        }
    }
}
