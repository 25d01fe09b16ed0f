namespace Dynamo.Vllm.Core.Adapters;

/// <summary>A name that cannot be registered beside those that are. The message is the reference's.</summary>
public sealed class AdapterCardException : Exception
{
    public AdapterCardException(string message)
        : base(message) { }
}
