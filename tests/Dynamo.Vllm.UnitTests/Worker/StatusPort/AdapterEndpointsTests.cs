using System.Text;
using Dynamo.Vllm.Worker.StatusPort;

namespace Dynamo.Vllm.UnitTests.Worker.StatusPort;

/// <summary>What the official worker's <c>/v1/loras</c> answered to bodies of every kind, before it comes to adapters.</summary>
public sealed class AdapterEndpointsTests : StatusPortTests
{
    private const string Unfit = "Failed to deserialize the JSON body into the target type: ";
    private const string Accepted = "";

    public AdapterEndpointsTests()
        : base(new EngineRoutes(), new StatusEndpointOptions { HasAdapters = true }) { }

    [Theory]
    [InlineData("", 400, "Failed to parse the request body as JSON: EOF while parsing a value at line 1 column 0")]
    [InlineData("[]", 422, Unfit + "invalid length 0, expected struct LoadLoraRequest with 2 elements at line 1 column 2")]
    [InlineData("null", 422, Unfit + "invalid type: null, expected struct LoadLoraRequest at line 1 column 4")]
    [InlineData("5", 422, Unfit + "invalid type: integer `5`, expected struct LoadLoraRequest at line 1 column 1")]
    [InlineData("\"x\"", 422, Unfit + "invalid type: string \"x\", expected struct LoadLoraRequest at line 1 column 3")]
    [InlineData("{}", 422, Unfit + "missing field `lora_name` at line 1 column 2")]
    [InlineData(
        """{"lora_name":5,"source":{"uri":"file:///x"}}""",
        422,
        Unfit + "lora_name: invalid type: integer `5`, expected a string at line 1 column 14"
    )]
    [InlineData(
        """{"lora_name":null,"source":{"uri":"file:///x"}}""",
        422,
        Unfit + "lora_name: invalid type: null, expected a string at line 1 column 17"
    )]
    [InlineData("""{"lora_name":"a"}""", 422, Unfit + "missing field `source` at line 1 column 17")]
    [InlineData(
        """{"lora_name":"a","source":null}""",
        422,
        Unfit + "source: invalid type: null, expected struct LoraSource at line 1 column 30"
    )]
    [InlineData(
        """{"lora_name":"a","source":5}""",
        422,
        Unfit + "source: invalid type: integer `5`, expected struct LoraSource at line 1 column 27"
    )]
    [InlineData("""{"lora_name":"a","source":{}}""", 422, Unfit + "source: missing field `uri` at line 1 column 28")]
    [InlineData(
        """{"lora_name":"a","source":{"uri":5}}""",
        422,
        Unfit + "source.uri: invalid type: integer `5`, expected a string at line 1 column 34"
    )]
    [InlineData(
        """{"lora_name":"a","source":{"uri":null}}""",
        422,
        Unfit + "source.uri: invalid type: null, expected a string at line 1 column 37"
    )]
    [InlineData(
        """{"lora_name":"a","source":"file:///x"}""",
        422,
        Unfit + "source: invalid type: string \"file:///x\", expected struct LoraSource at line 1 column 37"
    )]
    [InlineData(
        """{"lora_name":"a","lora_name":"b","source":{"uri":"file:///x"}}""",
        422,
        Unfit + "duplicate field `lora_name` at line 1 column 28"
    )]
    [InlineData("""{"source":{"uri":"file:///x"}}""", 422, Unfit + "missing field `lora_name` at line 1 column 30")]
    [InlineData(
        """{"lora_name":["a"],"source":{"uri":"file:///x"}}""",
        422,
        Unfit + "lora_name: invalid type: sequence, expected a string at line 1 column 13"
    )]
    [InlineData(
        """{"lora_name":true,"source":{"uri":"file:///x"}}""",
        422,
        Unfit + "lora_name: invalid type: boolean `true`, expected a string at line 1 column 17"
    )]
    [InlineData(
        """{"lora_name":1.5}""",
        422,
        Unfit + "lora_name: invalid type: floating point `1.5`, expected a string at line 1 column 16"
    )]
    [InlineData("""{"lora_name":{"a":1}}""", 422, Unfit + "lora_name: invalid type: map, expected a string at line 1 column 13")]
    [InlineData("""{"lora_name":"a","source":{"uri":"file:///x"},"extra":1} x""", 500, Accepted)]
    [InlineData("""["a",{"uri":"file:///x"}]""", 500, Accepted)]
    [InlineData("""{"lora_name":"a","source":["file:///x"]}""", 500, Accepted)]
    public async Task A_body_is_judged_in_the_reference_s_words(string body, int status, string text)
    {
        using var response = await Http.PostAsync("/v1/loras", new StringContent(body, Encoding.UTF8, "application/json"));
        Assert.Equal(status, (int)response.StatusCode);
        Assert.Equal(text.Length == 0 ? NotAvailable("load_lora", "a") : text, await response.Content.ReadAsStringAsync());
        Assert.Equal(text.Length == 0 ? "application/json" : "text/plain; charset=utf-8", response.Content.Headers.ContentType!.ToString());
    }

    [Fact]
    public async Task A_body_that_does_not_call_itself_json_is_refused()
    {
        using var response = await Http.PostAsync("/v1/loras", new StringContent("{}", Encoding.UTF8, "text/plain"));
        Assert.Equal(
            (415, "Expected request with `Content-Type: application/json`"),
            ((int)response.StatusCode, await response.Content.ReadAsStringAsync())
        );
    }

    [Theory]
    [InlineData("{")]
    [InlineData("{\"lora_name\":")]
    [InlineData("{\"lora_name\":\"a\",}")]
    public async Task A_body_that_is_no_json_is_a_400(string body)
    {
        using var response = await Http.PostAsync("/v1/loras", new StringContent(body, Encoding.UTF8, "application/json"));
        Assert.Equal(400, (int)response.StatusCode);
        Assert.StartsWith(
            "Failed to parse the request body as JSON: ",
            await response.Content.ReadAsStringAsync(),
            StringComparison.Ordinal
        );
    }

    [Theory]
    [InlineData("DELETE", "/v1/loras", 405, "GET, HEAD, POST")]
    [InlineData("PUT", "/v1/loras", 405, "GET, HEAD, POST")]
    [InlineData("OPTIONS", "/v1/loras", 405, "GET, HEAD, POST")]
    [InlineData("GET", "/v1/loras/p", 405, "DELETE")]
    [InlineData("POST", "/v1/loras/p", 405, "DELETE")]
    [InlineData("DELETE", "/v1/loras/", 404, "")]
    [InlineData("GET", "/v1/loras/", 404, "")]
    [InlineData("HEAD", "/v1/loras", 500, "")]
    public async Task Methods_are_those_of_the_reference(string method, string path, int status, string allowed)
    {
        using var response = await Http.SendAsync(new HttpRequestMessage(new HttpMethod(method), path));
        Assert.Equal((status, allowed), ((int)response.StatusCode, string.Join(", ", response.Content.Headers.Allow)));
    }

    [Theory]
    [InlineData("none", "none")]
    [InlineData("Org%2FMy-LoRA.v1", "Org/My-LoRA.v1")]
    [InlineData("Org/My-LoRA.v1", "Org/My-LoRA.v1")]
    [InlineData("%41%20b", "A b")]
    [InlineData("%C3%A9?x=1", "\u00e9")]
    public async Task The_rest_of_the_path_is_the_name(string path, string name)
    {
        using var response = await Http.DeleteAsync($"/v1/loras/{path}");
        Assert.Equal(NotAvailable("unload_lora", name), await response.Content.ReadAsStringAsync());
    }

    [Fact]
    public async Task Before_adapters_can_be_managed_the_list_says_so()
    {
        using var response = await Http.GetAsync("/v1/loras");
        Assert.Equal((500, NotAvailable("list_loras", null)), ((int)response.StatusCode, await response.Content.ReadAsStringAsync()));
    }

    private static string NotAvailable(string operation, string? name) =>
        $"{{\"status\":\"error\",\"message\":\"LoRA management not available: no '{operation}' handler is registered (neither a local "
        + $"LoRA endpoint nor an engine update). This worker either has LoRA disabled or its backend does not support LoRA "
        + $"management.\"{(name is null ? "" : $",\"lora_name\":\"{name}\"")}}}";
}
