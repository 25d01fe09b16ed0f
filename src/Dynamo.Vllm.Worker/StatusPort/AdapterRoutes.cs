using Dynamo.Vllm.Core.Adapters;

namespace Dynamo.Vllm.Worker.StatusPort;

/// <summary>What is behind <c>/v1/loras</c> (behaviour.md, 16). The routes are there before adapters can be managed, and say so.</summary>
public sealed class AdapterRoutes
{
    private volatile AdapterLifecycle? _adapters;

    /// <summary>Null while, or for as long as, this worker manages no adapters.</summary>
    public AdapterLifecycle? Adapters
    {
        get => _adapters;
        set => _adapters = value;
    }

    /// <param name="operation">Name of the endpoint that does it.</param>
    /// <param name="name">The adapter that was meant, if any.</param>
    public static AdapterReply NotAvailable(string operation, string? name = null) =>
        AdapterReply.Failed(
            $"LoRA management not available: no '{operation}' handler is registered (neither a local LoRA endpoint nor an engine update). "
                + "This worker either has LoRA disabled or its backend does not support LoRA management.",
            name
        );
}
