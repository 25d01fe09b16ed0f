using Dynamo.Vllm.Worker.StatusPage;

namespace Dynamo.Vllm.UnitTests.Worker.StatusPort;

/// <summary>A status that a test decides.</summary>
internal sealed class FixedStatus : IStatusSource
{
    public bool MayDrain { get; set; } = true;

    /// <summary>How often somebody asked for a drain.</summary>
    public int Drains { get; private set; }

    public StatusSnapshot Status { get; set; } =
        new()
        {
            State = "Serving m",
            Ready = true,
            Live = true,
            Draining = false,
            UptimeSeconds = 61,
            Model = "m",
            Discovery = "file",
            RequestPlane = "tcp",
            EventPlane = "zmq",
            EngineDrive = "direct",
            CallerConnections = 2,
            StatusConnections = 1,
            Endpoints = [],
            Samples = [],
            Problems = [],
        };

    public StatusSnapshot Read() => Status;

    public void Drain() => Drains++;
}
