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
