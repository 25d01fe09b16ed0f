using Dynamo.Vllm.Worker.Configuration.Dump;
using Dynamo.Vllm.Worker.Hosting;

namespace Dynamo.Vllm.Worker.Doctor;

/// <summary>The cards, and who holds their memory.</summary>
internal sealed class GpuCheck(WorkerSettings settings)
{
    public Task LookAsync(Findings findings, CancellationToken cancellationToken)
    {
        var cards = GpuFacts.ReadCards();
        if (cards.Count == 0)
        {
            if (settings.Arguments.Host.SimulatedEngine || settings.Runtime.DeviceType == "cpu")
            {
                findings.Ok("no GPU, and none is needed");
            }
            else
            {
                findings.Warning(
                    "no GPU: nvidia-smi is not there, fails, or does not answer within 5 s",
                    "expected on a machine for the CPU build of vLLM; else look at the driver, and give the container its devices"
                );
            }
        }

        foreach (var card in cards)
        {
            var seen = $"{card.Name}: {card.MemoryUsed} of {card.MemoryTotal} in use, driver {card.Driver}";
            if (card.Holders.Count == 0)
            {
                findings.Ok(seen);
            }
            else
            {
                findings.Warning(
                    $"{seen}, held by {string.Join(", ", card.Holders)}",
                    "the worker takes --gpu-memory-utilization (0.9) of the whole card: end what is not wanted, or lower it"
                );
            }
        }

        return Task.CompletedTask;
    }
}
