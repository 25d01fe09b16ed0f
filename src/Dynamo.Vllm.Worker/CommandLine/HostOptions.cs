using Dynamo.Vllm.Core.Health.Stalls;
using Dynamo.Vllm.Worker.CommandLine.Parsing;

namespace Dynamo.Vllm.Worker.CommandLine;

/// <summary>Options of this host that the reference does not have.</summary>
public sealed record HostOptions
{
    /// <summary>Path of an interpreter or of a virtual environment; null means the first <c>python3</c> on the path.</summary>
    public string? Python { get; init; }

    public bool SimulatedEngine { get; init; }

    public EngineDrive EngineDrive { get; init; } = EngineDrive.Raw;

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

    internal static HostOptions From(ParsedValues values) =>
        new()
        {
            Python = values.Text("python"),
            SimulatedEngine = values.Flag("simulated_engine"),
            EngineDrive = values.RequiredText("engine_drive") switch
            {
                "raw" => EngineDrive.Raw,
                "collector" => EngineDrive.Collector,
                "stock" => EngineDrive.Stock,
                // Only the variable can get here: words of the command line were checked by the parser.
                var other => throw new ConfigurationException(
                    $"DYN_VLLM_ENGINE_DRIVE={PythonText.Quote(other)}: expected 'stock', 'collector' or 'raw'"
                ),
            },
            DrainTimeout = TimeSpan.FromSeconds(values.Float("drain_timeout")),
            TerminationGracePeriod = values.OptionalFloat("termination_grace_period") is { } granted ? TimeSpan.FromSeconds(granted) : null,
            LiveIsReady = values.Flag("live_is_ready"),
            GrpcPort = (int?)values.OptionalInteger("grpc_port"),
            Stalls = ReadStallLimits(
                TimeSpan.FromSeconds(values.Float("engine_frozen_timeout")),
                TimeSpan.FromSeconds(values.Float("engine_busy_timeout")),
                TimeSpan.FromSeconds(values.Float("engine_stall_timeout"))
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
