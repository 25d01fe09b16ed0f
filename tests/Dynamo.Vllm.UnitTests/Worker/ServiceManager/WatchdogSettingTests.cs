using Dynamo.Vllm.Worker.ServiceManager;

namespace Dynamo.Vllm.UnitTests.Worker.ServiceManager;

public sealed class WatchdogSettingTests
{
    [Theory]
    [InlineData("30000000", "7", 10.0)]
    [InlineData("30000000", null, 10.0)]
    [InlineData("30000000", "", 10.0)]
    [InlineData("30000000", "8", null)] // meant for whoever started this
    [InlineData("0", "7", null)]
    [InlineData("-3", "7", null)]
    [InlineData("soon", "7", null)]
    [InlineData("18446744073709551615", "7", null)] // infinity
    [InlineData(null, "7", null)]
    public void Signs_come_three_times_a_period_where_this_process_is_meant(string? period, string? id, double? seconds)
    {
        var environment = new Dictionary<string, string>();
        if (period is not null)
        {
            environment["WATCHDOG_USEC"] = period;
        }

        if (id is not null)
        {
            environment["WATCHDOG_PID"] = id;
        }

        Assert.Equal(seconds, WatchdogSetting.Read(environment, 7).Interval?.TotalSeconds);
    }
}
