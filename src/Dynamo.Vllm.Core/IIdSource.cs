namespace Dynamo.Vllm.Core;

/// <summary>Where unique ids come from. A seam, so that a seed reproduces a run. Thread-safe.</summary>
public interface IIdSource
{
    /// <summary>In the form of a UUID.</summary>
    string Next();
}
