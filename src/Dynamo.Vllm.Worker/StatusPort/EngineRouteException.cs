namespace Dynamo.Vllm.Worker.StatusPort;

/// <summary>A control call failed in a way that is a 500 to the caller. The message has the reference's form <c>Type: text</c>.</summary>
public sealed class EngineRouteException : Exception
{
    public EngineRouteException(string message)
        : base(message) { }
}
