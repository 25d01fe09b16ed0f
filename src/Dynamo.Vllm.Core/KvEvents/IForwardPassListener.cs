namespace Dynamo.Vllm.Core.KvEvents;

/// <summary>Hears every forward pass beside the event plane.</summary>
public interface IForwardPassListener
{
    /// <summary>One pass. On the relay's loop, so it waits for nothing.</summary>
    /// <param name="rank">Of the engine that made it.</param>
    /// <param name="payload">As the engine sent it; valid during the call.</param>
    void Observe(int rank, ReadOnlySpan<byte> payload);
}
