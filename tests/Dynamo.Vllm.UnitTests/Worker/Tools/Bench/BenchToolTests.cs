using System.Net;
using Dynamo.Vllm.Worker.Tools.Bench;

namespace Dynamo.Vllm.UnitTests.Worker.Tools.Bench;

/// <summary>Whole runs against answers of the test.</summary>
public sealed class BenchToolTests
{
    private const string Models = """{"object":"list","data":[{"id":"tiny"},{"id":"other"}]}""";
    private const string Token = "data: {\"choices\":[{\"index\":0,\"text\":\"a\"}]}\n\n";
    private const string Usage = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3}}\n\n";
    private const string Done = "data: [DONE]\n\n";

    [Fact]
    public async Task Tokens_are_counted_as_the_server_counts_them_and_warm_ups_do_not()
    {
        using var server = new ScriptedServer(Models, (HttpStatusCode.OK, Token + Token + Token + Usage + Done));
        var (code, output, progress) = await RunAsync(
            server,
            "--num-prompts",
            "4",
            "--num-warmups",
            "2",
            "--max-concurrency",
            "2",
            "--header",
            "Authorization=Bearer abc",
            "--request-id-prefix",
            "me-"
        );
        Assert.Equal(0, code);
        Assert.Contains("Successful requests:                     4\n", output, StringComparison.Ordinal);
        Assert.Contains("Total input tokens:                      28\n", output, StringComparison.Ordinal);
        Assert.Contains("Total generated tokens:                  12\n", output, StringComparison.Ordinal);
        Assert.Contains("4 requests to http://127.0.0.1:8000/v1/completions", progress, StringComparison.Ordinal);
        Assert.Equal(["me-0", "me-1", "me-2", "me-3", "me-4", "me-5"], server.Requests.Select(request => request.Id).Order());
        Assert.All(server.Requests, request => Assert.Equal("Bearer abc", request.Authorization));
        Assert.All(server.Requests, request => Assert.Contains("\"model\":\"tiny\"", request.Body, StringComparison.Ordinal));
        Assert.Equal(6, server.Requests.Select(request => request.Body).Distinct().Count());
    }

    [Theory]
    [InlineData(HttpStatusCode.ServiceUnavailable, """{"message":"no","error":{"message":"busy\nnow"}}""", "HTTP 503; the first: busy now")]
    [InlineData(HttpStatusCode.NotFound, "", "HTTP 404; the first: Not Found")]
    [InlineData(HttpStatusCode.OK, Token + Token, "cut off; the first: the stream ended without [DONE]")]
    [InlineData(HttpStatusCode.OK, Usage + Done, "no token; the first: the answer ended without a token")]
    [InlineData(HttpStatusCode.OK, Token + "data: {\"error\":{\"message\":\"died\"}}\n\n" + Done, "error in the stream; the first: died")]
    [InlineData(HttpStatusCode.OK, Token + "event: error\n: engine is gone\n\n" + Done, "error in the stream; the first: engine is gone")]
    [InlineData(HttpStatusCode.OK, Token + "data: <html>\n\n" + Done, "unreadable answer; the first: '<' is an invalid start")]
    public async Task Each_kind_of_failure_is_counted_and_the_first_is_told(HttpStatusCode status, string body, string told)
    {
        using var server = new ScriptedServer(Models, (status, body), (status, body), (HttpStatusCode.OK, Token + Done));
        var (code, output, _) = await RunAsync(server, "--num-prompts", "3", "--max-concurrency", "1");
        Assert.Equal(1, code);
        Assert.Contains(
            "Successful requests:                     1\nFailed requests:                         2\n",
            output,
            StringComparison.Ordinal
        );
        Assert.Contains($"\n2 failed: {told}", output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_server_that_goes_on_and_on_is_left()
    {
        using var server = new ScriptedServer(Models, (HttpStatusCode.OK, string.Concat(Enumerable.Repeat(Token, 100))));
        var (code, output, _) = await RunAsync(server, "--num-prompts", "1", "--output-len", "4");
        Assert.Equal(1, code);
        Assert.Contains("1 failed: too long; the first: more than 72 chunks for 4 tokens", output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_server_that_is_not_there_is_one_line_that_says_what_to_do()
    {
        using var server = new ScriptedServer(models: null);
        var (code, output, progress) = await RunAsync(server);
        Assert.Equal((1, ""), (code, output));
        Assert.Equal(
            "bench: http://127.0.0.1:8000 cannot be reached: Connection refused (127.0.0.1:8000). "
                + "Is the frontend up, and are --host and --port, or --base-url, its address?\n",
            progress
        );
    }

    [Theory]
    [InlineData("""{"data":[]}""", "lists no model yet: is a worker registered?")]
    [InlineData("nothing", "answers no JSON")]
    public async Task A_server_without_a_model_is_told(string models, string problem)
    {
        using var server = new ScriptedServer(models);
        var (code, _, progress) = await RunAsync(server);
        Assert.Equal(1, code);
        Assert.Contains(problem, progress, StringComparison.Ordinal);
    }

    private static async Task<(int Code, string Output, string Progress)> RunAsync(ScriptedServer server, params string[] arguments)
    {
        using var http = new HttpClient(server, disposeHandler: false);
        using var output = new StringWriter { NewLine = "\n" };
        using var progress = new StringWriter { NewLine = "\n" };
        var tool = new BenchTool(BenchSample.Options(arguments), http, output, progress, redraws: false, TimeProvider.System);
        var code = await tool.RunAsync(default);
        return (code, output.ToString(), progress.ToString());
    }
}
