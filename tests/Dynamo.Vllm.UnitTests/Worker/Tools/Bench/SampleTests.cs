using Dynamo.Vllm.Worker.Tools.Bench;

namespace Dynamo.Vllm.UnitTests.Worker.Tools.Bench;

/// <summary>Figures are numpy's, which <c>vllm bench serve</c> uses: expected values are what numpy 2 gave.</summary>
public sealed class SampleTests
{
    private static readonly Sample Seven = new([0.031, 0.0042, 0.5, 0.27, 0.0111, 0.09, 0.031]);

    [Theory]
    [InlineData(0, 0.0042)]
    [InlineData(25, 0.02105)]
    [InlineData(50, 0.031)]
    [InlineData(90, 0.3620000000000001)]
    [InlineData(99, 0.4861999999999999)]
    [InlineData(99.9, 0.4986200000000002)]
    [InlineData(100, 0.5)]
    public void Percentiles_are_numpy_s(double percent, double expected) => Assert.Equal(expected, Seven.Percentile(percent), 1e-12);

    [Fact]
    public void Mean_deviation_and_median_are_numpy_s()
    {
        Assert.Equal(0.1339, Seven.Mean, 1e-12);
        Assert.Equal(0.17219522973316403, Seven.Deviation, 1e-12);
        Assert.Equal(0.031, Seven.Median, 1e-12);
        Assert.Equal(0.15, new Sample([0.2, 0.1]).Median, 1e-12);
    }

    [Fact]
    public void Of_nothing_everything_is_zero()
    {
        var nothing = new Sample([]);
        Assert.Equal((0, 0, 0, 0), (nothing.Mean, nothing.Deviation, nothing.Median, nothing.Percentile(99)));
    }
}
