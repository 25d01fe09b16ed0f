namespace Dynamo.Vllm.Engine.Requests;

/// <summary>What a stream has to say about itself, to whoever has its request. Thread-safe.</summary>
internal interface IStreamCommands
{
    /// <summary>Asks for its end, which comes as an output like any other.</summary>
    void Abort(ulong stream);

    /// <summary>Its reader has left so many outputs that it is given up.</summary>
    void ReportSlowReader(ulong stream, int pending);
}
