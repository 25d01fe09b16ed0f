using System.Net;
using Dynamo.Vllm.Protocol.Discovery;
using Dynamo.Vllm.Protocol.ModelCards;
using Dynamo.Vllm.Transports.Tcp;
using Dynamo.Vllm.Worker.StatusPort;

namespace Dynamo.Vllm.Worker.Models;

/// <summary>Serves model files from the status server, for frontends on other hosts (llm-registration.md, 4).</summary>
internal sealed class MetadataHost
{
    private readonly HostedFiles _files;
    private readonly IPEndPoint _advertised;
    private readonly EndpointId _endpoint;

    /// <param name="files">What the server serves.</param>
    /// <param name="bound">Where the server listens.</param>
    /// <param name="endpoint">The one that the models are served on.</param>
    public MetadataHost(HostedFiles files, IPEndPoint bound, EndpointId endpoint)
    {
        _files = files;
        _advertised = new IPEndPoint(
            NetworkAddresses.IsWildcard(bound.Address) ? NetworkAddresses.Automatic(bound.AddressFamily) : bound.Address,
            bound.Port
        );
        _endpoint = endpoint;
    }

    /// <param name="files">With local paths.</param>
    /// <param name="slug">Of the model's name.</param>
    /// <param name="suffix"><c>_base</c>, or the slug of the adapter.</param>
    /// <returns>The same files by their addresses.</returns>
    public ModelFiles Host(ModelFiles files, string slug, string suffix)
    {
        var prefix = PrefixOf(slug, suffix);
        return files.WithPaths(
            (file, _) =>
            {
                _files.Add(prefix + file.Name, file.Path);
                return $"http://{_advertised}/v1/metadata/{prefix}{file.Name}";
            }
        );
    }

    public void Remove(string slug, string suffix) => _files.RemoveAll(PrefixOf(slug, suffix));

    private string PrefixOf(string slug, string suffix) => $"{_endpoint.Namespace}/{_endpoint.Component}/{_endpoint.Name}/{slug}/{suffix}/";
}
