namespace Dynamo.Vllm.Worker.StatusPage;

/// <summary>What the status page shows and does.</summary>
internal interface IStatusSource
{
    /// <summary>Whether it may be asked to drain from there: the port is loopback's, or whoever asks has shown the token.</summary>
    bool MayDrain { get; }

    /// <summary>Never waits.</summary>
    StatusSnapshot Read();

    /// <summary>Out of discovery until what runs has ended, then back. Never waits.</summary>
    void Drain();
}
