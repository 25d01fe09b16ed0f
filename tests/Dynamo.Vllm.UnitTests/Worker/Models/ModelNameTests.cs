using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Worker.Configuration;
using Dynamo.Vllm.Worker.Models;

namespace Dynamo.Vllm.UnitTests.Worker.Models;

public sealed class ModelNameTests
{
    [Theory]
    [InlineData("Qwen/Qwen3-0.6B")]
    [InlineData("gpt2")]
    public void A_name_is_looked_for_on_the_hub(string model) => Assert.True(ModelName.IsOnHub(model));

    [Fact]
    public void What_exists_is_not_fetched()
    {
        using var folder = new TemporaryFolder();
        Assert.False(ModelName.IsOnHub(folder.Path));
        Assert.False(ModelName.IsOnHub(folder.Write("model.gguf", "")));
    }

    [Theory]
    [InlineData("ngc://org/name/1", "ngc:// is not supported yet")]
    [InlineData("s3://bucket/name", "s3:// is not supported yet")]
    [InlineData("/nowhere/at/all", "there is no such folder")]
    [InlineData("./nowhere", "there is no such folder")]
    [InlineData("~/nowhere", "there is no such folder")]
    public void What_cannot_be_fetched_is_named(string model, string reason)
    {
        var exception = Assert.Throws<ConfigurationException>(() => ModelName.IsOnHub(model));
        Assert.StartsWith($"--model '{model}': {reason}", exception.Message, StringComparison.Ordinal);
    }
}
