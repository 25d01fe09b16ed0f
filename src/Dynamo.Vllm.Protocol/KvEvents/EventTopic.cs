using System.Globalization;
using System.Text;
using Dynamo.Vllm.Protocol.Discovery;

namespace Dynamo.Vllm.Protocol.KvEvents;

/// <summary>One publisher's place on the event plane: whose topic, and which publisher.</summary>
public sealed record EventTopic(EndpointId Scope, string Name, PublisherId Publisher)
{
    /// <summary>Subject of the scope, which NATS records name.</summary>
    public string SubjectPrefix => $"namespace.{Escape(Scope.Namespace)}.component.{Escape(Scope.Component)}.endpoint.{Escape(Scope.Name)}";

    /// <summary>Full subject, on NATS and through a ZMQ broker.</summary>
    public string Subject => $"{SubjectPrefix}.{Escape(Name)}";

    /// <summary>Key of this topic's discovery records.</summary>
    public string Key =>
        $"namespace/{Escape(Scope.Namespace)}/component/{Escape(Scope.Component)}/endpoint/{Escape(Scope.Name)}"
        + $"/topic/{Escape(Name)}/{Publisher.Hex}";

    /// <summary>Letters, digits, <c>-</c> and <c>_</c> stay, every other byte becomes <c>%XX</c>.</summary>
    public static string Escape(string segment)
    {
        var text = new StringBuilder(segment.Length);
        foreach (var octet in Encoding.UTF8.GetBytes(segment))
        {
            var c = (char)octet;
            if (char.IsAsciiLetterOrDigit(c) || c is '-' or '_')
            {
                text.Append(c);
            }
            else
            {
                text.Append('%').Append(octet.ToString("X2", CultureInfo.InvariantCulture));
            }
        }

        return text.ToString();
    }
}
