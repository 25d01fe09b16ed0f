using Dynamo.Vllm.Core.Health.Stalls;
using Dynamo.Vllm.Worker.Configuration.Options;
using Dynamo.Vllm.Worker.Configuration.Parsing;

namespace Dynamo.Vllm.Worker.Configuration;

/// <summary>Options of this host that the reference does not have.</summary>
public sealed record HostSettings
{
    /// <summary>Path of an interpreter or of a virtual environment; null means the first <c>python3</c> on the path.</summary>
    public string? Python { get; init; }

    public bool SimulatedEngine { get; init; }

    public EngineDrive EngineDrive { get; init; } = EngineDrive.Direct;

    /// <summary>How long requests already accepted may keep generating once intake is closed.</summary>
    public TimeSpan DrainTimeout { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>How long whoever stops this process waits before it kills it; null where it did not say.</summary>
    public TimeSpan? TerminationGracePeriod { get; init; }

    /// <summary><c>/live</c> answers like <c>/health</c>, as in the reference.</summary>
    public bool LiveIsReady { get; init; }

    /// <summary>Where gRPC's health service listens; null: nowhere.</summary>
    public int? GrpcPort { get; init; }

    /// <summary>When a silent engine is no longer trusted.</summary>
    public StallLimits Stalls { get; init; } = new();

    internal static HostSettings From(OptionValues options) =>
        new()
        {
            Python = options.Get(OwnOptions.Python),
            SimulatedEngine = options.Get(OwnOptions.SimulatedEngine),
            EngineDrive = options.Get(OwnOptions.EngineDrive) switch
            {
                "direct" => EngineDrive.Direct,
                "raw" => EngineDrive.Raw,
                "collector" => EngineDrive.Collector,
                "stock" => EngineDrive.Stock,
                // Only the variable can get here: words of the command line were checked by the parser.
                var other => throw new ConfigurationException(
                    $"DYN_VLLM_ENGINE_DRIVE={PythonText.Quote(other)}: expected 'stock', 'collector' or 'raw'"
                ),
            },
            DrainTimeout = TimeSpan.FromSeconds(options.Get(OwnOptions.DrainTimeout)),
            TerminationGracePeriod = options.Get(OwnOptions.TerminationGracePeriod) is { } granted ? TimeSpan.FromSeconds(granted) : null,
            LiveIsReady = options.Get(OwnOptions.LiveIsReady),
            GrpcPort = (int?)options.Get(OwnOptions.GrpcPort),
            Stalls = ReadStallLimits(
                TimeSpan.FromSeconds(options.Get(OwnOptions.EngineFrozenTimeout)),
                TimeSpan.FromSeconds(options.Get(OwnOptions.EngineBusyTimeout)),
                TimeSpan.FromSeconds(options.Get(OwnOptions.EngineStallTimeout))
            ),
        };

    private static StallLimits ReadStallLimits(TimeSpan frozen, TimeSpan busy, TimeSpan stall)
    {
        var defaults = new StallLimits();
        return defaults with
        {
            FrozenSuspect = frozen,
            FrozenRelease = frozen * (defaults.FrozenRelease / defaults.FrozenSuspect),
            BusySuspect = busy,
            BusyRelease = busy * (defaults.BusyRelease / defaults.BusySuspect),
            Stall = stall,
        };
    }
}
