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

    /// <summary>How requests and outputs pass vLLM, by its name (docs/design.md, 5).</summary>
    public string EngineDrive { get; init; } = "direct";

    /// <summary>How far apart the items of a stream are at least.</summary>
    public TimeSpan ItemInterval { get; init; }

    /// <summary>How long requests already accepted may keep generating once intake is closed.</summary>
    public TimeSpan DrainTimeout { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>How long whoever stops this process waits before it kills it; null where it did not say.</summary>
    public TimeSpan? TerminationGracePeriod { get; init; }

    /// <summary><c>/live</c> answers like <c>/health</c>, as in the reference.</summary>
    public bool LiveIsReady { get; init; }

    /// <summary>Where gRPC's health service listens; null: nowhere.</summary>
    public int? GrpcPort { get; init; }

    /// <summary>Requests are taken there, too.</summary>
    public bool GrpcRequests { get; init; }

    /// <summary>Holds the token that guards what controls the worker over HTTP; null: nothing is guarded.</summary>
    public string? SystemTokenFile { get; init; }

    /// <summary>Files with certificate and key of the status port and of gRPC; null: they speak without TLS.</summary>
    public (string Certificate, string Key)? SystemTls { get; init; }

    /// <summary>When a silent engine is no longer trusted.</summary>
    public StallLimits Stalls { get; init; } = new();

    internal static HostSettings From(OptionValues options) =>
        new()
        {
            Python = options.Get(OwnOptions.Python),
            SimulatedEngine = options.Get(OwnOptions.SimulatedEngine),
            EngineDrive = ReadDrive(options.Get(OwnOptions.EngineDrive)),
            ItemInterval = TimeSpan.FromMilliseconds(options.Get(OwnOptions.ItemInterval)),
            DrainTimeout = TimeSpan.FromSeconds(options.Get(OwnOptions.DrainTimeout)),
            TerminationGracePeriod = options.Get(OwnOptions.TerminationGracePeriod) is { } granted ? TimeSpan.FromSeconds(granted) : null,
            LiveIsReady = options.Get(OwnOptions.LiveIsReady),
            GrpcPort = (int?)options.Get(OwnOptions.GrpcPort),
            GrpcRequests = ReadGrpcRequests(options),
            SystemTokenFile = options.Get(OwnOptions.SystemTokenFile) is { Length: > 0 } path ? path : null,
            SystemTls = ReadTls(options.Get(OwnOptions.SystemTlsCert), options.Get(OwnOptions.SystemTlsKey)),
            Stalls = ReadStallLimits(
                TimeSpan.FromSeconds(options.Get(OwnOptions.EngineFrozenTimeout)),
                TimeSpan.FromSeconds(options.Get(OwnOptions.EngineBusyTimeout)),
                TimeSpan.FromSeconds(options.Get(OwnOptions.EngineStallTimeout))
            ),
        };

    private static (string Certificate, string Key)? ReadTls(string? certificate, string? key)
    {
        var (given, missing) = (OwnOptions.SystemTlsCert.Flags[0], OwnOptions.SystemTlsKey.Flags[0]);
        return (certificate, key) switch
        {
            ({ Length: > 0 }, { Length: > 0 }) => (certificate, key),
            ({ Length: > 0 }, _) => throw new ConfigurationException($"{given} {certificate} needs {missing}"),
            (_, { Length: > 0 }) => throw new ConfigurationException($"{missing} {key} needs {given}"),
            _ => null,
        };
    }

    /// <summary>The parser has checked what the command line says, and not what the variable says.</summary>
    private static string ReadDrive(string drive)
    {
        var drives = OwnOptions.EngineDrive.Choices!;
        return drives.Contains(drive)
            ? drive
            : throw new ConfigurationException(
                $"{OwnOptions.EngineDrive.Environment}={PythonText.Quote(drive)}: expected one of "
                    + string.Join(", ", drives.Select(PythonText.Quote))
            );
    }

    private static bool ReadGrpcRequests(OptionValues options)
    {
        var takes = options.Get(OwnOptions.GrpcRequests);
        return !takes || options.Get(OwnOptions.GrpcPort) is not null
            ? takes
            : throw new ConfigurationException($"{OwnOptions.GrpcRequests.Flags[0]} needs {OwnOptions.GrpcPort.Flags[0]}: where to listen");
    }

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
