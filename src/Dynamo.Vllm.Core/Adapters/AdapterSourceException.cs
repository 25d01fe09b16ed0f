namespace Dynamo.Vllm.Core.Adapters;

/// <summary>An adapter cannot be had from where it should come from. The message is for the caller.</summary>
public sealed class AdapterSourceException : Exception
{
    public AdapterSourceException(string message, Exception? inner = null)
        : base(message, inner) { }
}
