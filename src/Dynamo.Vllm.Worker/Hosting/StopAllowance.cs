using Dynamo.Vllm.Core.Lifecycle;
using Dynamo.Vllm.Worker.StatusPort;

namespace Dynamo.Vllm.Worker.Hosting;

/// <summary>What whoever stops this process grants, against what a stop may take.</summary>
/// <remarks>
/// The pod's terminationGracePeriodSeconds is no field of the Downward API, and reading the pod would need a right that nothing else here
/// needs: so the manifest says it twice, and a test holds that both numbers agree.
/// </remarks>
internal sealed partial class StopAllowance
{
    private readonly TimeSpan? _granted;
    private readonly StageSequence _stages;
    private readonly ILogger<StopAllowance> _logger;

    public StopAllowance(WorkerSettings settings, StageSequence stages, ILogger<StopAllowance> logger)
    {
        _granted = settings.Arguments.Host.TerminationGracePeriod;
        _stages = stages;
        _logger = logger;
    }

    /// <summary>The longest that a stop takes: stages, then the server that answers probes meanwhile.</summary>
    public TimeSpan Needed => _stages.DownLimit + StatusServer.StopLimit;

    /// <summary>One warning where less is granted than a stop may take; nothing where nobody said what is granted.</summary>
    public void Check()
    {
        if (_granted is { } granted && granted < Needed)
        {
            LogTooShort(_logger, granted.TotalSeconds, Needed.TotalSeconds);
        }
    }

    [LoggerMessage(
        EventId = 5024,
        Level = LogLevel.Warning,
        Message = "{GrantedSeconds:0.#} s are granted for a stop, and one may take {NeededSeconds:0.#} s: what runs then is killed. "
            + "Raise terminationGracePeriodSeconds of the pod (TimeoutStopSec of the unit), or lower --drain-timeout"
    )]
    private static partial void LogTooShort(ILogger logger, double grantedSeconds, double neededSeconds);
}
