using Dynamo.Vllm.Core.Metrics;

namespace Dynamo.Vllm.UnitTests.Core;

public sealed class MetricLabelsTests
{
    private static readonly KeyValuePair<string, string>[] Labels =
    [
        new("model", "tiny"),
        new("model_name", "tiny"),
        new("worker_id", "a\"b"),
    ];

    [Theory]
    [InlineData("x{a=\"b\",model=\"\",model_name=\"\",worker_id=\"1\"} 1", "x{a=\"b\",worker_id=\"1\"} 1")]
    [InlineData("x{a=\"b\",model=\"/m\",model_name=\"\",worker_id=\"1\"} 1", "x{a=\"b\",model=\"/m\",worker_id=\"1\"} 1")]
    [InlineData("x{model=\"m\",model_name=\"m\",worker_id=\"1\"} 1", "x{model=\"m\",model_name=\"m\",worker_id=\"1\"} 1")]
    public void Labels_that_an_endpoint_does_not_have_are_not_shown(string sample, string shown) =>
        Assert.Equal(shown, MetricLabels.WithoutEmptyModel(sample));

    [Fact]
    public void Labels_are_added_and_never_override()
    {
        var text = "# HELP vllm:x Help.\n# TYPE vllm:x gauge\nvllm:x{engine=\"0\",model_name=\"own\"} 1.0\nvllm:y 2\nother 3\n";
        Assert.Equal(
            "# HELP vllm:x Help.\n# TYPE vllm:x gauge\nvllm:x{model=\"tiny\",worker_id=\"a\\\"b\",engine=\"0\",model_name=\"own\"} 1.0\n"
                + "vllm:y{model=\"tiny\",model_name=\"tiny\",worker_id=\"a\\\"b\"} 2\n",
            MetricLabels.Inject(text, ["vllm:"], Labels)
        );
    }
}
