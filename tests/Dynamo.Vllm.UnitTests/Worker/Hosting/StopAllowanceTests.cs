using Dynamo.Vllm.Core.Lifecycle;
using Dynamo.Vllm.Testing.Logs;
using Dynamo.Vllm.Worker.Hosting;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Dynamo.Vllm.UnitTests.Worker.Hosting;

public sealed class StopAllowanceTests
{
    private readonly LogCapture _log = new();

    [Fact]
    public void Less_than_a_stop_may_take_is_warned_of_once_with_both_numbers()
    {
        var needed = Check("--termination-grace-period", "60");

        var line = Assert.Single(_log.Lines);
        Assert.Equal(LogLevel.Warning, line.Level);
        Assert.StartsWith($"60 s are granted for a stop, and one may take {needed.TotalSeconds} s: ", line.Text, StringComparison.Ordinal);
    }

    [Fact]
    public void A_shorter_drain_is_content_with_less()
    {
        Check("--termination-grace-period", "60", "--drain-timeout", "1");
        Assert.Single(_log.Lines); // the engine's own limit is still a minute

        var needed = Check("--termination-grace-period", "110", "--drain-timeout", "1");
        Assert.Equal(TimeSpan.FromSeconds(108), needed);
        Assert.Single(_log.Lines);
    }

    [Theory]
    [InlineData("--termination-grace-period", "166")]
    [InlineData("--drain-timeout", "3600")] // nobody said what is granted
    public void Enough_or_unknown_is_no_warning(string flag, string value)
    {
        Check(flag, value);
        Assert.Empty(_log.Lines);
    }

    private TimeSpan Check(params string[] arguments)
    {
        var settings = StageSample.Settings(new Dictionary<string, string>(), ["--model", "m", .. arguments]);
        using var host = StageSample.Host(settings);
        var allowance = new StopAllowance(settings, host.Services.GetRequiredService<StageSequence>(), _log.For<StopAllowance>());
        allowance.Check();
        return allowance.Needed;
    }
}
