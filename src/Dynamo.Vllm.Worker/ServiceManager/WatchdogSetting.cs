using System.Globalization;

namespace Dynamo.Vllm.Worker.ServiceManager;

/// <summary>Whether the service manager waits for signs of life (<c>WatchdogSec=</c>), and how often they are to come.</summary>
/// <param name="Interval">Null: it waits for none.</param>
internal sealed record WatchdogSetting(TimeSpan? Interval)
{
    /// <summary>Of each period, so that one late sign is none missed.</summary>
    private const int SignsPerPeriod = 3;

    /// <summary>A year: more is no watchdog, and would not fit a timer.</summary>
    private const long MicrosecondsMax = 365L * 24 * 3600 * 1_000_000;

    /// <summary>As <c>sd_watchdog_enabled</c> reads it: a process that only inherited the variables is not meant.</summary>
    public static WatchdogSetting Read(IReadOnlyDictionary<string, string> environment, int processId)
    {
        var isMeant =
            environment.GetValueOrDefault("WATCHDOG_PID") is not { Length: > 0 } id
            || id == processId.ToString(CultureInfo.InvariantCulture);
        var hasPeriod = long.TryParse(
            environment.GetValueOrDefault("WATCHDOG_USEC"),
            NumberStyles.None,
            CultureInfo.InvariantCulture,
            out var microseconds
        );
        return isMeant && hasPeriod && microseconds is > 0 and <= MicrosecondsMax
            ? new WatchdogSetting(TimeSpan.FromMicroseconds(microseconds / SignsPerPeriod))
            : new WatchdogSetting((TimeSpan?)null);
    }
}
