using System.Text;
using Dynamo.Vllm.Worker.StatusPort;

namespace Dynamo.Vllm.UnitTests.Worker.StatusPort;

public sealed class LoadAdapterBodyTests
{
    [Theory]
    [InlineData("""{"lora_name":"\ud800","source":{"uri":"file:///x"}}""")]
    [InlineData("{\"lora_name\":\"\u00ff\",\"source\":{\"uri\":\"file:///x\"}}")]
    [InlineData("{\"\u00ff\":1}")]
    public void A_string_that_is_no_Unicode_is_refused(string body)
    {
        var failure = Assert.Throws<UnfitBodyException>(() => LoadAdapterBody.Read(Encoding.Latin1.GetBytes(body)));
        Assert.Equal(400, failure.Status);
        Assert.StartsWith("Failed to parse the request body as JSON: ", failure.Message, StringComparison.Ordinal);
    }
}
